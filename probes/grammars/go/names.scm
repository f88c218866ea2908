; Which identifiers of Go are what. Names and renaming for complete code; completions are read by lexical rules.
; @bound     where the program gives something its name: a local, parameter, function, class, type, constant, field
; @member    belongs to something else: stands after a dot, is a key, a keyword argument, a part of an imported path
; @imported  brought in by an import under its own spelling
; @alias     brought in by an import under a name that the importer chose
; @shorthand a variable and a key in one word
; @separate  an identifier of another name space, which no variable of that spelling is meant by
; @scope     what is bound in it cannot be seen outside; @outer: the name of the scope it stands in, bound around it
; @exposed   what is bound in it can be seen outside, though it stands in a scope

; --- bound

(short_var_declaration left: (expression_list (identifier) @bound))
(range_clause left: (expression_list (identifier) @bound) ":=")
(receive_statement left: (expression_list (identifier) @bound) ":=")
(type_switch_statement alias: (expression_list (identifier) @bound))
(var_spec name: (identifier) @bound)
(const_spec name: (identifier) @bound)
(parameter_declaration name: (identifier) @bound)
(variadic_parameter_declaration name: (identifier) @bound)
(type_parameter_declaration name: (identifier) @bound)

(function_declaration name: (identifier) @bound @outer)
(method_declaration name: (field_identifier) @bound)
(method_elem name: (field_identifier) @bound)
(type_spec name: (type_identifier) @bound @outer)
(type_alias name: (type_identifier) @bound @outer)
(field_declaration name: (field_identifier) @bound)

; --- member

(selector_expression field: (field_identifier) @member)
(qualified_type name: (type_identifier) @member)
; The keys of a map, an array or a slice are values. A type that has a name is taken for a struct.
(composite_literal
  type: [(type_identifier) (qualified_type) (generic_type) (struct_type)]
  body: (literal_value (keyed_element key: (literal_element (identifier) @member))))
(literal_element (literal_value (keyed_element key: (literal_element (identifier) @member))))
(field_declaration !name type: (type_identifier) @shorthand)

; --- imported

; The name of a package is part of its path, which is a string.
(import_spec !name path: (_ [(interpreted_string_literal_content) (raw_string_literal_content)] @imported))
(import_spec name: (package_identifier) @alias)
(package_clause (package_identifier) @imported)

; --- where it is seen

(label_name) @separate
[
  (function_declaration)
  (method_declaration)
  (func_literal)
  (function_type)
  (method_elem)
  (type_spec)
  (type_alias)
  (block)
  (if_statement)
  (for_statement)
  (expression_switch_statement)
  (type_switch_statement)
  (expression_case)
  (type_case)
  (default_case)
  (communication_case)
] @scope
