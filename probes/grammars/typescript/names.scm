; inherits: ecmascript
; --- what JavaScript has in other ways, or not at all

(required_parameter pattern: (identifier) @bound)
(optional_parameter pattern: (identifier) @bound)
(index_signature name: (identifier) @bound)
(type_parameter name: (type_identifier) @bound)
(mapped_type_clause name: (type_identifier) @bound)
(infer_type (type_identifier) @bound)

(class_declaration name: (type_identifier) @bound @outer) @scope
(abstract_class_declaration name: (type_identifier) @bound @outer) @scope
(class name: (type_identifier) @bound) @scope
(interface_declaration name: (type_identifier) @bound @outer body: (_) @exposed) @scope
(type_alias_declaration name: (type_identifier) @bound @outer) @scope
(function_signature name: (identifier) @bound @outer) @scope
(enum_declaration name: (identifier) @bound)
(enum_body name: (property_identifier) @bound)
(enum_assignment name: (property_identifier) @bound)
(internal_module name: (identifier) @bound)
(module name: (identifier) @bound)
(public_field_definition name: (property_identifier) @bound)
(property_signature name: (property_identifier) @bound)
(method_signature name: (property_identifier) @bound)
(abstract_method_signature name: (property_identifier) @bound)

(nested_identifier property: (property_identifier) @member)
(nested_type_identifier name: (type_identifier) @member)
(import_require_clause (identifier) @alias)
(import_alias . (identifier) @alias)

[
  (index_signature)
  (method_signature)
  (abstract_method_signature)
  (call_signature)
  (construct_signature)
  (function_type)
  (constructor_type)
] @scope
(object_type) @exposed
; A parameter with a modifier is a field as well.
(required_parameter [(accessibility_modifier) (override_modifier) "readonly"]) @exposed
(optional_parameter [(accessibility_modifier) (override_modifier) "readonly"]) @exposed
(internal_module body: (_) @exposed)
(module body: (_) @exposed)
