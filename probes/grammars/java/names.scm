; Which identifiers of Java are what. Names and renaming for complete code; completions are read by lexical rules.
; @bound     where the program gives something its name: a local, parameter, function, class, type, constant, field
; @member    belongs to something else: stands after a dot, is a key, a keyword argument, a part of an imported path
; @imported  brought in by an import under its own spelling
; @alias     brought in by an import under a name that the importer chose
; @shorthand a variable and a key in one word
; @separate  an identifier of another name space, which no variable of that spelling is meant by
; @scope     what is bound in it cannot be seen outside; @outer: the name of the scope it stands in, bound around it
; @exposed   what is bound in it can be seen outside, though it stands in a scope

; --- bound

(variable_declarator name: (identifier) @bound)
(formal_parameter name: (identifier) @bound)
(catch_formal_parameter name: (identifier) @bound)
(enhanced_for_statement name: (identifier) @bound)
(resource name: (identifier) @bound)
(lambda_expression parameters: (identifier) @bound)
(inferred_parameters (identifier) @bound)
(instanceof_expression name: (identifier) @bound)
(type_pattern (identifier) @bound)
(record_pattern_component (identifier) @bound)
(type_parameter (type_identifier) @bound)

(class_declaration name: (identifier) @bound @outer) @scope
(interface_declaration name: (identifier) @bound @outer) @scope
(record_declaration name: (identifier) @bound @outer parameters: (_) @exposed) @scope
(enum_declaration name: (identifier) @bound @outer) @scope
(annotation_type_declaration name: (identifier) @bound @outer) @scope
(method_declaration name: (identifier) @bound @outer) @scope
(constructor_declaration name: (identifier) @bound @outer) @scope
(compact_constructor_declaration name: (identifier) @bound @outer) @scope
(annotation_type_element_declaration name: (identifier) @bound)
(enum_constant name: (identifier) @bound)

; --- member

(field_access field: (identifier) @member)
(method_invocation object: (_) name: (identifier) @member)
(method_reference "::" (identifier) @member)
(scoped_identifier name: (identifier) @member)
(scoped_type_identifier (type_identifier) @member .)
(element_value_pair key: (identifier) @separate)

; --- imported

(import_declaration (scoped_identifier name: (identifier) @imported) . ";")
(import_declaration (scoped_identifier scope: [
  (identifier) @member
  (scoped_identifier scope: [
    (identifier) @member
    (scoped_identifier scope: [(identifier) @member (scoped_identifier scope: (identifier) @member)])
  ])
]))
(package_declaration (scoped_identifier name: (identifier) @imported))
(package_declaration (identifier) @imported)

; --- where it is seen

(method_invocation !object name: (identifier) @separate)
(labeled_statement . (identifier) @separate)
(break_statement (identifier) @separate)
(continue_statement (identifier) @separate)
[
  (lambda_expression)
  (block)
  (for_statement)
  (enhanced_for_statement)
  (try_with_resources_statement)
  (catch_clause)
  (switch_rule)
  (switch_block_statement_group)
] @scope
[
  (class_body)
  (interface_body)
  (enum_body)
  (annotation_type_body)
] @exposed
