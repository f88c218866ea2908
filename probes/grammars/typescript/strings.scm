; Literals whose white space is part of the value.
[(template_string) (string)] @string
