; What is cut out of a file: @definition is cut whole; one that is too large is opened at its @container.
; What is @closed is not looked into.

(function_definition) @definition
(class_definition body: (_) @container) @definition
(decorated_definition definition: (function_definition)) @definition
(decorated_definition definition: (class_definition body: (_) @container)) @definition

; Only `if` and `try` are looked into: what a loop or a `with` defines is rarely meant to be a definition of the file.
[
  (for_statement)
  (while_statement)
  (with_statement)
  (match_statement)
  (ERROR)
] @closed
