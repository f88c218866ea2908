; inherits: c
; @imported  brought in by an import under its own spelling
; @alias     brought in by an import under a name that the importer chose
; --- what C does not have

(reference_declarator [(identifier) (field_identifier)] @bound)
(variadic_declarator (identifier) @bound)
(structured_binding_declarator (identifier) @bound)
(for_range_loop declarator: (identifier) @bound)
(optional_parameter_declaration declarator: (identifier) @bound)
(lambda_capture_initializer left: (identifier) @bound)
(condition_clause value: (declaration declarator: (identifier) @bound))
(type_parameter_declaration (type_identifier) @bound)
(variadic_type_parameter_declaration (type_identifier) @bound)
(optional_type_parameter_declaration name: (type_identifier) @bound)
(class_specifier name: (type_identifier) @bound body: (_))
(alias_declaration name: (type_identifier) @bound)
(concept_definition name: (identifier) @bound)
(namespace_definition name: (namespace_identifier) @bound)

(qualified_identifier "::" name: [
  (identifier) @member
  (type_identifier) @member
  (qualified_identifier scope: (namespace_identifier) @member)
  (template_type name: (type_identifier) @member)
  (template_function name: (identifier) @member)
])
(using_declaration "namespace" (identifier) @imported)
(using_declaration (qualified_identifier name: [
  (identifier) @imported
  (qualified_identifier name: [(identifier) @imported (qualified_identifier name: (identifier) @imported)])
]))
(namespace_alias_definition name: (namespace_identifier) @alias)

[
  (template_declaration)
  (lambda_expression)
  (requires_expression)
  (for_range_loop)
  (if_statement)
  (while_statement)
  (switch_statement)
  (catch_clause)
] @scope
(template_declaration parameters: (_) (_) @exposed)
; To the lexical rules what follows an arrow is a member.
(trailing_return_type (type_descriptor type: (type_identifier) @separate))
