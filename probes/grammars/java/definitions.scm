; What is cut out of a file: @definition is cut whole; one that is too large is opened at its @container.
; What is @closed is not looked into. What is @leading goes with a definition that it directly precedes.

(line_comment) @leading
(block_comment) @leading
(ERROR) @closed

(class_declaration body: (_) @container) @definition
(interface_declaration body: (_) @container) @definition
(enum_declaration body: (_) @container) @definition
(record_declaration body: (_) @container) @definition

[
  (annotation_type_declaration)
  (method_declaration)
  (constructor_declaration)
  (compact_constructor_declaration)
  (static_initializer)
] @definition
