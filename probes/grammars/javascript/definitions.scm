; What is cut out of a file: @definition is cut whole; one that is too large is opened at its @container.
; What is @closed is not looked into. What is @leading goes with a definition that it directly precedes.

(comment) @leading
(ERROR) @closed

[
  (function_declaration)
  (generator_function_declaration)
  (method_definition)
  (field_definition value: [(arrow_function) (function_expression) (generator_function)])
  (pair value: [(arrow_function) (function_expression) (generator_function)])
  (lexical_declaration (variable_declarator value: [(arrow_function) (function_expression) (generator_function)]))
  (variable_declaration (variable_declarator value: [(arrow_function) (function_expression) (generator_function)]))
  (expression_statement
    (assignment_expression right: [(arrow_function) (function_expression) (generator_function)]))
  (export_statement
    declaration: [
      (function_declaration)
      (generator_function_declaration)
      (lexical_declaration
        (variable_declarator value: [(arrow_function) (function_expression) (generator_function)]))
    ])
  (export_statement value: [(arrow_function) (function_expression) (generator_function)])
] @definition

(class_declaration body: (_) @container) @definition
(lexical_declaration (variable_declarator value: (class body: (_) @container))) @definition
(variable_declaration (variable_declarator value: (class body: (_) @container))) @definition
(expression_statement (assignment_expression right: (class body: (_) @container))) @definition
(export_statement declaration: (class_declaration body: (_) @container)) @definition
(export_statement value: (class body: (_) @container)) @definition
