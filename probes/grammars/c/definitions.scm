; What is cut out of a file: @definition is cut whole. What is @closed is not looked into.
; What is @leading goes with a definition that it directly precedes.

(comment) @leading
(ERROR) @closed

[
  (function_definition)
  (struct_specifier body: (_))
  (union_specifier body: (_))
  (enum_specifier body: (_))
  (type_definition
    type: [(struct_specifier body: (_)) (union_specifier body: (_)) (enum_specifier body: (_))])
  (declaration
    type: [(struct_specifier body: (_)) (union_specifier body: (_)) (enum_specifier body: (_))])
] @definition
