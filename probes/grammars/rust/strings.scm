; Literals whose white space is part of the value.
[(string_literal) (raw_string_literal)] @string
