; Which identifiers of Rust are what. Names and renaming for complete code; completions are read by lexical rules.
; @bound     where the program gives something its name: a local, parameter, function, class, type, constant, field
; @member    belongs to something else: stands after a dot, is a key, a keyword argument, a part of an imported path
; @imported  brought in by an import under its own spelling
; @alias     brought in by an import under a name that the importer chose
; @shorthand a variable and a key in one word
; @separate  an identifier of another name space, which no variable of that spelling is meant by
; @scope     what is bound in it cannot be seen outside; @outer: the name of the scope it stands in, bound around it
; @exposed   what is bound in it can be seen outside, though it stands in a scope

; --- bound

; In a pattern an identifier that begins with a capital is a constant or a variant.
((let_declaration pattern: (identifier) @bound) (#match? @bound "^[^A-Z]"))
((let_condition pattern: (identifier) @bound) (#match? @bound "^[^A-Z]"))
((parameter pattern: (identifier) @bound) (#match? @bound "^[^A-Z]"))
((closure_parameters (identifier) @bound) (#match? @bound "^[^A-Z]"))
((for_expression pattern: (identifier) @bound) (#match? @bound "^[^A-Z]"))
((match_pattern . (identifier) @bound) (#match? @bound "^[^A-Z]"))
((tuple_pattern (identifier) @bound) (#match? @bound "^[^A-Z]"))
((slice_pattern (identifier) @bound) (#match? @bound "^[^A-Z]"))
((tuple_struct_pattern type: (_) (identifier) @bound) (#match? @bound "^[^A-Z]"))
((or_pattern (identifier) @bound) (#match? @bound "^[^A-Z]"))
((mut_pattern (identifier) @bound) (#match? @bound "^[^A-Z]"))
((ref_pattern (identifier) @bound) (#match? @bound "^[^A-Z]"))
((reference_pattern (identifier) @bound) (#match? @bound "^[^A-Z]"))
((field_pattern pattern: (identifier) @bound) (#match? @bound "^[^A-Z]"))
(captured_pattern . (identifier) @bound)
(field_pattern name: (shorthand_field_identifier) @bound @shorthand)

(type_parameter name: (type_identifier) @bound)
(const_parameter name: (identifier) @bound)
(lifetime_parameter name: (lifetime) @bound)
(for_lifetimes (lifetime) @bound)

(function_item name: (identifier) @bound @outer) @scope
(function_signature_item name: (identifier) @bound @outer) @scope
(struct_item name: (type_identifier) @bound @outer) @scope
(union_item name: (type_identifier) @bound @outer) @scope
(enum_item name: (type_identifier) @bound @outer) @scope
(trait_item name: (type_identifier) @bound @outer) @scope
(type_item name: (type_identifier) @bound @outer) @scope
(associated_type name: (type_identifier) @bound @outer) @scope
(mod_item name: (identifier) @bound)
(const_item name: (identifier) @bound)
(static_item name: (identifier) @bound)
(macro_definition name: (identifier) @bound)
(enum_variant name: (identifier) @bound)
(field_declaration name: (field_identifier) @bound)

; --- member

(field_expression field: (field_identifier) @member)
(field_initializer field: (field_identifier) @member)
(field_pattern name: (field_identifier) @member)
(scoped_identifier "::" name: (identifier) @member)
(scoped_type_identifier "::" name: (type_identifier) @member)
(shorthand_field_initializer (identifier) @shorthand)
(type_binding name: (type_identifier) @separate)
; What a macro is given is tokens: members, keys and names of arguments, as far as these tell.
(token_tree "." . (identifier) @separate)
(token_tree "::" . (identifier) @separate)
(token_tree (identifier) @separate . [":" "="])
(token_tree . "{" (identifier) @separate)

; --- imported

(use_declaration argument: [(identifier) @imported (scoped_identifier name: (identifier) @imported)])
(use_list [(identifier) @imported (scoped_identifier name: (identifier) @imported)])
(use_as_clause path: [(identifier) @member (scoped_identifier name: (identifier) @member)] alias: (identifier) @alias)
(use_wildcard (identifier) @member)
(scoped_use_list path: (identifier) @member)
([
  (use_declaration argument: (scoped_identifier path: [
    (identifier) @member
    (scoped_identifier path: [(identifier) @member (scoped_identifier path: (identifier) @member)])
  ]))
  (use_as_clause path: (scoped_identifier path: [(identifier) @member (scoped_identifier path: (identifier) @member)]))
  (use_list (scoped_identifier path: [(identifier) @member (scoped_identifier path: (identifier) @member)]))
  (use_wildcard (scoped_identifier path: [(identifier) @member (scoped_identifier path: (identifier) @member)]))
  (scoped_use_list path: (scoped_identifier path: [
    (identifier) @member
    (scoped_identifier path: (identifier) @member)
  ]))
])
(extern_crate_declaration !alias name: (identifier) @imported)
(extern_crate_declaration name: (identifier) @member alias: (identifier) @alias)

; --- where it is seen

(label) @separate
(macro_invocation macro: (identifier) @separate)
(attribute (identifier) @separate)
[
  (impl_item)
  (closure_expression)
  (block)
  (for_expression)
  (if_expression)
  (while_expression)
  (match_arm)
  (function_type)
  (where_predicate)
] @scope
[
  (declaration_list)
  (enum_variant_list)
] @exposed
