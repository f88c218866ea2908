; Which identifiers of C are what. Names and renaming for complete code; completions are read by lexical rules.
; @bound     where the program gives something its name: a local, parameter, function, class, type, constant, field
; @member    belongs to something else: stands after a dot, is a key, a keyword argument, a part of an imported path
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
