; What is cut out of a file: @definition is cut whole. What is @closed is not looked into.
; What is @leading goes with a definition that it directly precedes.

(comment) @leading
(ERROR) @closed

[
  (function_declaration)
  (method_declaration)
  (type_declaration)
] @definition
