; Literals whose white space is part of the value. Of a text block only what is indented alike is not.
(string_literal) @string
