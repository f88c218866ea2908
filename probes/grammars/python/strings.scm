; Literals whose white space is part of the value.
(string) @string
