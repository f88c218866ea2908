; inherits: ecmascript
; --- what TypeScript has in other ways, or not at all

(formal_parameters (identifier) @bound)
(class_declaration name: (identifier) @bound @outer) @scope
(class name: (identifier) @bound) @scope
(field_definition property: (property_identifier) @bound)
(jsx_attribute (property_identifier) @separate)
(jsx_opening_element name: (identifier) @separate)
(jsx_closing_element name: (identifier) @separate)
(jsx_self_closing_element name: (identifier) @separate)
