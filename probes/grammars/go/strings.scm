; Literals whose white space is part of the value.
(raw_string_literal) @string
