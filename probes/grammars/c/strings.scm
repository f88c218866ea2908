; Literals whose white space is part of the value, and what a macro stands for.
[(string_literal) (preproc_arg)] @string
