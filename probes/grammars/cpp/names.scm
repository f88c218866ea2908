; Which identifiers of C++ are what. Names and renaming for complete code; completions are read by lexical rules.
; @bound     where the program gives something its name: a local, parameter, function, class, type, constant, field
; @member    belongs to something else: stands after a dot, is a key, a keyword argument, a part of an imported path
; @imported  brought in by an import under its own spelling
; @alias     brought in by an import under a name that the importer chose
; @separate  an identifier of another name space, which no variable of that spelling is meant by
; @scope     what is bound in it cannot be seen outside; @outer: the name of the scope it stands in, bound around it
; @exposed   what is bound in it can be seen outside, though it stands in a scope

; --- bound

(declaration declarator: (identifier) @bound)
(parameter_declaration declarator: (identifier) @bound)
(init_declarator declarator: (identifier) @bound)
(pointer_declarator declarator: [(identifier) (field_identifier) (type_identifier)] @bound)
(array_declarator declarator: [(identifier) (field_identifier) (type_identifier)] @bound)
(parenthesized_declarator [(identifier) (field_identifier) (type_identifier)] @bound)
(attributed_declarator . [(identifier) (field_identifier) (type_identifier)] @bound)
(function_declarator declarator: [(identifier) @bound @outer (field_identifier) @bound (type_identifier) @bound])
(field_declaration declarator: (field_identifier) @bound)
(type_definition declarator: (type_identifier) @bound)
(struct_specifier name: (type_identifier) @bound body: (_))
(union_specifier name: (type_identifier) @bound body: (_))
(enum_specifier name: (type_identifier) @bound body: (_))
(enumerator name: (identifier) @bound)
(preproc_def name: (identifier) @bound)
(preproc_function_def name: (identifier) @bound)
(preproc_params (identifier) @bound)

; --- member

(field_expression field: (field_identifier) @member)
(field_designator (field_identifier) @member)

; --- where it is seen

(statement_identifier) @separate
[
  (function_definition)
  (compound_statement)
  (for_statement)
] @scope
(declaration declarator: (function_declarator parameters: (_) @scope))
(field_declaration declarator: (function_declarator parameters: (_) @scope))
(type_definition declarator: (function_declarator parameters: (_) @scope))
; What is declared as a function is defined elsewhere.
(declaration declarator: (function_declarator declarator: (identifier) @separate))
[
  (field_declaration_list)
  (preproc_def)
  (preproc_function_def)
] @exposed
((declaration (storage_class_specifier) @_storage) @exposed (#eq? @_storage "extern"))

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
