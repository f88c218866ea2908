; What is cut out of a file: @definition is cut whole; one that is too large is opened at its @container.
; What is @closed is not looked into. What is @leading goes with a definition that it directly precedes.

(line_comment) @leading
(block_comment) @leading
(attribute_item) @leading
(ERROR) @closed

[
  (function_item)
  (struct_item)
  (enum_item)
  (union_item)
  (macro_definition)
] @definition

(impl_item body: (_) @container) @definition
(trait_item body: (_) @container) @definition
