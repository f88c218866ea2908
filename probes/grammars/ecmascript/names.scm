; Which identifiers of JavaScript and of TypeScript are what. Names and renaming for complete code; completions are read by lexical rules.
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
(for_in_statement kind: _ left: (identifier) @bound)
(catch_clause parameter: (identifier) @bound)
(array_pattern (identifier) @bound)
(rest_pattern (identifier) @bound)
(pair_pattern value: (identifier) @bound)
(assignment_pattern left: (identifier) @bound)
(shorthand_property_identifier_pattern) @bound @shorthand
(arrow_function parameter: (identifier) @bound)

(function_declaration name: (identifier) @bound @outer)
(generator_function_declaration name: (identifier) @bound @outer)
(function_expression name: (identifier) @bound)
(generator_function name: (identifier) @bound)
(method_definition name: (property_identifier) @bound)

; --- member

(member_expression property: [(property_identifier) (private_property_identifier)] @member)
(pair key: (property_identifier) @member)
(pair_pattern key: (property_identifier) @member)
(shorthand_property_identifier) @shorthand

; --- imported

(import_clause (identifier) @alias)
(namespace_import (identifier) @alias)
(import_specifier !alias name: (identifier) @imported)
(import_specifier name: (identifier) @member alias: (identifier) @alias)
(export_specifier [name: (_) alias: (_)] @separate)
(namespace_export (identifier) @separate)

; --- where it is seen

(statement_identifier) @separate
[
  (function_declaration)
  (generator_function_declaration)
  (function_expression)
  (generator_function)
  (arrow_function)
  (method_definition)
  (class_static_block)
  (catch_clause)
] @scope
(class_body) @exposed
