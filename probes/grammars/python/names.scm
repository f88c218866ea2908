; Which identifiers of Python are what. Names and renaming for complete code; completions are read by lexical rules.
; @bound     where the program gives something its name: a local, parameter, function, class, type, constant, field
; @member    belongs to something else: stands after a dot, is a key, a keyword argument, a part of an imported path
; @imported  brought in by an import under its own spelling
; @alias     brought in by an import under a name that the importer chose
; @shorthand a variable and a key in one word
; @separate  an identifier of another name space, which no variable of that spelling is meant by
; @scope     what is bound in it cannot be seen outside; @outer: the name of the scope it stands in, bound around it
; @exposed   what is bound in it can be seen outside, though it stands in a scope

; --- bound

(assignment left: (identifier) @bound)
(named_expression name: (identifier) @bound)
(for_statement left: (identifier) @bound)
(for_in_clause left: (identifier) @bound)
(pattern_list (identifier) @bound)
(tuple_pattern (identifier) @bound)
(list_pattern (identifier) @bound)
(list_splat_pattern (identifier) @bound)
(dictionary_splat_pattern (identifier) @bound)
(as_pattern_target (identifier) @bound)
(as_pattern_target [(tuple (identifier) @bound) (list (identifier) @bound)])
(global_statement (identifier) @bound)
(nonlocal_statement (identifier) @bound)

(parameters (identifier) @bound)
(lambda_parameters (identifier) @bound)
(typed_parameter . (identifier) @bound)
(default_parameter name: (identifier) @bound)
(typed_default_parameter name: (identifier) @bound)

(function_definition name: (identifier) @bound @outer) @scope
(class_definition name: (identifier) @bound @outer body: (_) @exposed) @scope
(type_alias_statement
  left: (type [(identifier) @bound @outer (generic_type . (identifier) @bound @outer)])) @scope
(_
  type_parameters: (type_parameter (type [
    (identifier) @bound
    (splat_type (identifier) @bound)
    (constrained_type . (type (identifier) @bound))
  ])))
(type_alias_statement
  left: (type (generic_type (type_parameter (type [
    (identifier) @bound
    (splat_type (identifier) @bound)
    (constrained_type . (type (identifier) @bound))
  ])))))

; A bare name in a pattern is bound; `_` is not, but no harm is done.
(case_pattern (dotted_name . (identifier) @bound .))
(keyword_pattern (identifier) (dotted_name . (identifier) @bound .))
(union_pattern (dotted_name . (identifier) @bound .))
(splat_pattern (identifier) @bound)
(case_pattern (as_pattern (case_pattern) (identifier) @bound))

; --- member

(attribute attribute: (identifier) @member)
(keyword_argument name: (identifier) @member)
(keyword_pattern . (identifier) @member)
(case_pattern (dotted_name (identifier) . (identifier) @member))
(class_pattern (dotted_name (identifier) . (identifier) @member))
(union_pattern (dotted_name (identifier) . (identifier) @member))

; --- imported

(import_statement name: (dotted_name . (identifier) @imported))
(import_statement name: (dotted_name (identifier) . (identifier) @member))
(import_statement name: (aliased_import name: (dotted_name (identifier) @member)))
(import_from_statement module_name: (dotted_name (identifier) @member))
(import_from_statement module_name: (relative_import (dotted_name (identifier) @member)))
(import_from_statement name: (dotted_name (identifier) @imported))
(import_from_statement name: (aliased_import name: (dotted_name (identifier) @member)))
(future_import_statement name: (dotted_name (identifier) @imported))
(aliased_import alias: (identifier) @alias)

; --- where it is seen

; Its spelling is shown.
(interpolation (identifier) @separate "=")

[
  (lambda)
  (list_comprehension)
  (set_comprehension)
  (dictionary_comprehension)
  (generator_expression)
] @scope
(global_statement) @exposed
