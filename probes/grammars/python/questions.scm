; What can be asked of a text: the answer is captured under the kind of question, and @subject is what it is about.
; Where there is no @subject, it is the function around the answer.

(return_statement (_) @returns)
(raise_statement . (_) @raises)

(function_definition name: (identifier) @subject parameters: (parameters) @takes)
(function_definition
  name: (identifier) @subject body: (block . (expression_statement (string) @documented)))
(class_definition name: (identifier) @subject body: (block . (expression_statement (string) @documented)))
(class_definition name: (identifier) @subject superclasses: (argument_list) @inherits)
(class_definition
  name: (identifier) @owner
  body: (block [
    (function_definition name: (identifier) @subject)
    (decorated_definition definition: (function_definition name: (identifier) @subject))
  ]))

(assignment left: (_) @subject right: (_) @assigned)
(default_parameter name: (identifier) @subject value: (_) @default)
(typed_default_parameter name: (identifier) @subject value: (_) @default)
(pair key: (_) @subject value: (_) @stored)
(call function: (_) @subject arguments: (argument_list) @called)
(import_from_statement module_name: (_) @subject name: (_) @imports)
