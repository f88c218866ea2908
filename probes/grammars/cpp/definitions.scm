; What is cut out of a file: @definition is cut whole; one that is too large is opened at its @container.
; What is @closed is not looked into. What is @leading goes with a definition that it directly precedes.

(comment) @leading
(ERROR) @closed

[
  (function_definition)
  (enum_specifier body: (_))
  (concept_definition)
  (type_definition
    type: [
      (class_specifier body: (_))
      (struct_specifier body: (_))
      (union_specifier body: (_))
      (enum_specifier body: (_))
    ])
  (declaration
    type: [
      (class_specifier body: (_))
      (struct_specifier body: (_))
      (union_specifier body: (_))
      (enum_specifier body: (_))
    ])
  (template_declaration [(function_definition) (concept_definition)])
  (friend_declaration (function_definition))
] @definition

(class_specifier body: (_) @container) @definition
(struct_specifier body: (_) @container) @definition
(union_specifier body: (_) @container) @definition
(template_declaration [
  (class_specifier body: (_) @container)
  (struct_specifier body: (_) @container)
  (union_specifier body: (_) @container)
]) @definition
