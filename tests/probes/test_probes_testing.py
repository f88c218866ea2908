import ast
import io
import re
import subprocess
import sys
import tokenize
from collections import Counter
from functools import cache

import pytest
from hypothesis import HealthCheck, Phase, find, given, seed, settings
from hypothesis import strategies as st

import probes
from probes import testing
from probes.testing import strategies
from probes.testing.growth import MEMBERS, grow
from probes.testing.layout import render
from probes.testing.pieces import Piece, Style
from probes.testing.programs import Closure, Count, Each, Let, Peculiar, Special
from probes.testing.writers import WRITERS

languages = pytest.mark.parametrize("language", testing.LANGUAGES)
# What the grammars of Python, JavaScript and TypeScript take for errors now and then is valid to the language's own
# parsers: lines that go on left of their block; line breaks and comments in rare places of a typed method.
STRICT = ("java", "go", "rust", "c", "cpp")
HEALTH = (HealthCheck.too_slow, HealthCheck.data_too_large)
PLAIN = bytes(3)
DOCUMENTED = ast.Module | ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


def drawn(strategy, count=60):
    """The same examples each time."""
    found = []

    @seed(1)
    @settings(
        max_examples=count,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=HEALTH,
        deadline=None,
    )
    @given(strategy)
    def collect(example):
        found.append(example)

    collect()
    return found


@cache
def programs(language):
    return drawn(testing.code(language), 250)


def has_error(text, language):
    # The grammar of Java takes // at the start of a text block for a comment.
    spellings = {text, re.sub(r'"""([ \t]*\r?\n)//', r'"""\1__', text)} if language == "java" else {text}
    trees = [probes.grammar(language).parse(spelled.encode()) for spelled in spellings]
    return all(tree.root_node.has_error for tree in trees)


def nodes(text, language, *, comments=True):
    found = []
    stack = [probes.grammar(language).parse(text.encode()).root_node]
    while stack:
        node = stack.pop()
        if comments or "comment" not in node.type:
            found.append(node)
            stack.extend(reversed(node.children))
    return found


def leaves(text, language):
    """What the grammar finds but for white space and comments."""
    found = []
    for node in nodes(text, language, comments=False):
        if not node.children and node.type != "line_continuation":
            leaf = bare(node.text.decode())
            # In a macro's body, which is one leaf, a comment at the end is part of it.
            found.append(leaf.split("//")[0] if node.type == "preproc_arg" else leaf)
    return [leaf for leaf in found if leaf]


def bare(text):
    """The text without white space and continued lines."""
    return re.sub(r"\\\r?\n|\s", "", text)


def without_docstrings(tree):
    for node in ast.walk(tree):
        if isinstance(node, DOCUMENTED):
            first = node.body[0] if node.body else None
            if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
                assert isinstance(first.value.value, str)
                del node.body[0]
    return tree


def dump(text, *, docstrings=True):
    tree = ast.parse(text)
    return ast.dump(tree if docstrings else without_docstrings(tree))


def python_tokens(text):
    """What Python's tokenizer finds, but for blanks and empty lines; f-strings as what they mean."""
    found = []
    for token in tokenize.generate_tokens(io.StringIO(text, newline="").readline):
        kind = tokenize.tok_name[token.type]
        if kind == "STRING" and token.string.lower().startswith("f"):
            found.append((kind, ast.dump(ast.parse(token.string))))
        elif kind in ("NEWLINE", "INDENT", "DEDENT"):
            found.append((kind, ""))
        elif kind != "NL":
            found.append((kind, token.string.replace("\r\n", "\n")))
    return found


def words(text):
    return re.findall(r"[\w$]+", text)


# --- programs


@languages
@given(data=st.data())
def test_a_program_is_valid_in_a_plain_layout_without_comments(language, data):
    style = data.draw(strategies._STYLES)
    program = data.draw(strategies._PROGRAMS)
    plain = Style(
        layout=PLAIN, remarks=PLAIN, separators=style.separators, quotes=style.quotes, names=style.names
    )
    writer = WRITERS[language]
    text = render(writer(program, plain).write(), rules=writer.rules, style=plain)
    assert not has_error(text, language), text


@pytest.mark.parametrize("language", STRICT)
@given(data=st.data())
def test_a_program_is_valid_in_every_style(language, data):
    text = data.draw(testing.code(language))
    assert not has_error(text, language), text


@given(testing.code("python"))
def test_a_python_program_is_valid_in_every_style(text):
    ast.parse(text)


@pytest.mark.parametrize("name", ["code", "separated"])
def test_python_programs_of_a_large_sample_are_valid(name):
    for example in drawn(getattr(testing, name)("python"), 400):
        ast.parse(example if name == "code" else example.b)


@pytest.mark.parametrize("language", ["javascript", "typescript"])
def test_no_line_ends_where_a_script_would_end_a_statement(language):
    # Which the grammars do not know of.
    held = Counter()
    for text in programs(language):
        raw = text.encode()
        for node in nodes(text, language, comments=False):
            before = after = node
            if node.type == "=>":
                before, after = node.prev_sibling, node
            elif node.type in ("return_statement", "throw_statement", "yield_expression"):
                real = [child for child in node.children if child.type not in ("comment", ";")]
                before, after = real[0], real[min(1, len(real) - 1)]
            while before.type == "comment":
                before = before.prev_sibling
            between = raw[before.end_byte : after.start_byte]
            held[node.type] += before is not after
            assert b"\n" not in between, between
    assert min(held["=>"], held["return_statement"], held["throw_statement"], held["yield_expression"]) >= 3


@pytest.mark.parametrize("language", ["javascript", "typescript"])
def test_the_grammar_refuses_few_scripts(language):
    refused = [text for text in programs(language) if has_error(text, language)]
    assert len(refused) <= 12, refused[0]


def test_the_languages_are_those_of_the_probes():
    assert set(testing.LANGUAGES) == set(probes.LANGUAGES)


@pytest.mark.parametrize(
    ("language", "tokens", "text"),
    [
        ("c", ["0xE", "+", "1"], "0xE +1"),  # C reads 0xE+1 as one number
        ("javascript", ["0xE", "+", "1"], "0xE+1"),
        ("c", ["a", "-", "-", "b"], "a- -b"),
        ("python", ["a", "-", "-", "b"], "a--b"),
        ("c", ["a", "/", "*", "p"], "a/ *p"),
        ("c", ["*", "*", "p", "=", "&", "x"], "**p=&x"),
        ("go", ["a", "<", "-", "b"], "a< -b"),
        ("cpp", ["a", "<", "b", "<", "c", ">", ">", "d"], "a<b<c>>d"),
        ("rust", ["return", '"x"'], 'return "x"'),  # Rust 2021 reserves all prefixes
        ("rust", ["'x'", "as", "u8"], "'x' as u8"),
        ("python", ["return", "'x'", "if", "b", "else", "f", '"y"'], "return'x'if b else f \"y\""),
        ("python", ["1.", "if", "x", "else", ".5"], "1. if x else.5"),
        ("java", ["x", "..."], "x..."),
        ("go", ["5.", "...", "x"], "5. ...x"),
    ],
)
def test_tokens_part_where_they_would_be_others(language, tokens, text):
    tight = Style(layout=bytes([0, 4, 0]), remarks=PLAIN, separators=PLAIN, quotes=PLAIN, names=PLAIN)
    pieces = [Piece(token) for token in tokens]
    assert render(pieces, rules=WRITERS[language].rules, style=tight).rstrip("\n") == text


@languages
def test_programs_are_short(language):
    lines = sorted(text.count("\n") + 1 for text in programs(language))
    assert lines[0] < 8
    assert lines[len(lines) // 2] <= 30


def test_programs_shrink_to_little():
    calm = settings(database=None, derandomize=True, max_examples=100, suppress_health_check=HEALTH)
    loop = find(testing.code("python"), lambda text: "for" in words(text), settings=calm)
    assert loop.count("\n") <= 8
    assert not set("#\r\t") & set(loop)


FEATURES = {
    "python": "import_statement import_from_statement aliased_import decorated_definition async "
    "class_definition typed_parameter default_parameter list_splat_pattern dictionary_splat_pattern "
    "lambda list_comprehension dictionary_comprehension generator_expression named_expression tuple "
    "set slice interpolation format_specifier type_conversion concatenated_string "
    "conditional_expression keyword_argument list_splat dictionary_splat comparison_operator "
    "boolean_operator not_operator unary_operator augmented_assignment type if_statement elif_clause "
    "else_clause while_statement for_statement with_statement try_statement except_clause "
    "finally_clause match_statement assert_statement raise_statement break_statement "
    "continue_statement comment escape_sequence line_continuation",
    "javascript": "import_statement namespace_import named_imports class_declaration field_definition "
    "method_definition export_statement async function_declaration rest_pattern assignment_pattern "
    "arrow_function generator_function yield_expression template_string template_substitution regex "
    "new_expression spread_element object pair array computed_property_name array_pattern "
    "object_pattern ternary_expression optional_chain augmented_assignment_expression "
    "update_expression for_statement for_in_statement while_statement do_statement switch_statement "
    "try_statement finally_clause throw_statement break_statement continue_statement comment "
    "escape_sequence static ; ??",
    "typescript": "interface_declaration type_alias_declaration enum_declaration type_annotation type_arguments "
    "type_parameters as_expression non_null_expression union_type array_type object_type tuple_type "
    "property_signature method_signature arrow_function template_string regex",
    "java": "package_declaration import_declaration asterisk class_declaration enum_declaration "
    "record_declaration marker_annotation annotation type_parameters wildcard generic_type array_type "
    "throws spread_parameter lambda_expression method_reference object_creation_expression "
    "array_creation_expression cast_expression instanceof_expression switch_expression switch_rule "
    "ternary_expression try_statement try_with_resources_statement catch_type finally_clause "
    "synchronized_statement assert_statement enhanced_for_statement for_statement while_statement "
    "do_statement throw_statement character_literal multiline_string_fragment line_comment "
    "block_comment",
    "go": "import_spec type_declaration struct_type interface_type method_declaration "
    "type_parameter_declaration variadic_parameter_declaration func_literal composite_literal "
    "keyed_element map_type channel_type pointer_type slice_expression type_assertion_expression "
    "variadic_argument generic_type unary_expression raw_string_literal rune_literal "
    "imaginary_literal short_var_declaration var_declaration range_clause for_clause inc_statement "
    "expression_switch_statement type_switch_statement select_statement send_statement "
    "defer_statement go_statement if_statement else comment ; field_declaration",
    "rust": "use_declaration use_as_clause use_wildcard attribute_item struct_item enum_item macro_definition "
    "impl_item lifetime type_parameters where_clause reference_type array_type tuple_type "
    "closure_expression macro_invocation struct_expression match_expression match_arm "
    "range_expression if_expression let_condition while_expression for_expression loop_expression "
    "label unsafe_block type_cast_expression reference_expression try_expression generic_function "
    "raw_string_literal char_literal string_literal doc_comment line_comment block_comment "
    "mutable_specifier tuple_expression",
    "c": "preproc_include preproc_def preproc_function_def preproc_ifdef preproc_if preproc_else "
    "struct_specifier enum_specifier type_definition bitfield_clause pointer_declarator "
    "array_declarator storage_class_specifier compound_literal_expression initializer_pair "
    "subscript_designator field_designator cast_expression sizeof_expression pointer_expression "
    "conditional_expression update_expression for_statement while_statement do_statement "
    "switch_statement case_statement break_statement continue_statement char_literal "
    "concatenated_string comment escape_sequence",
    "cpp": "preproc_include preproc_function_def template_declaration class_specifier base_class_clause "
    "access_specifier destructor_name field_initializer_list using_declaration attribute_declaration "
    "noexcept template_type template_function lambda_expression lambda_capture_specifier "
    "for_range_loop try_statement catch_clause new_expression structured_binding_declarator "
    "raw_string_literal user_defined_literal number_literal reference_declarator initializer_list "
    "nullptr comment",
}  # fmt: skip


@languages
def test_programs_have_the_features_of_the_language(language):
    seen = set()
    for text in programs(language):
        seen |= {node.type for node in nodes(text, language)}
    assert set(FEATURES[language].split()) - seen == set()


@languages
def test_styles_use_their_freedom(language):
    texts = programs(language)
    share = {
        "crlf": sum("\r\n" in text for text in texts),
        "tabs": sum("\t" in text for text in texts),
        "no last line end": sum(not text.endswith("\n") for text in texts),
        "unicode": sum(not text.isascii() for text in texts),
        "apostrophes in comments": sum(bool(re.search(r"(//|#|/\*) ?it's", text)) for text in texts),
    }
    assert min(share.values()) >= 5, share


# --- pairs

PAIRS = {
    "reformatted": (testing.reformatted, 0.8),
    "commented": (testing.commented, 0.7),
    "renamed": (testing.renamed, 0.8),
}


@languages
@pytest.mark.parametrize("name", PAIRS)
def test_most_pairs_differ(language, name):
    strategy, share = PAIRS[name]
    pairs = drawn(strategy(language), 40)
    assert sum(pair.a != pair.b for pair in pairs) >= share * len(pairs)


@languages
def test_many_pairs_differ_in_separators(language):
    pairs = drawn(testing.separated(language))
    differ = sum(bare(pair.a) != bare(pair.b) for pair in pairs)
    assert differ >= (0.1 if language in ("java", "c", "cpp") else 0.6) * len(pairs)


@languages
@given(data=st.data())
def test_reformatted_pairs_differ_in_white_space_alone(language, data):
    pair = data.draw(testing.reformatted(language))
    assert bare(pair.a) == bare(pair.b)
    if not (has_error(pair.a, language) or has_error(pair.b, language)):
        assert leaves(pair.a, language) == leaves(pair.b, language)


@given(testing.reformatted("python"))
def test_reformatted_python_has_the_tokens_it_had(pair):
    assert python_tokens(pair.a) == python_tokens(pair.b)
    assert dump(pair.a) == dump(pair.b)


@languages
@given(data=st.data())
def test_commented_pairs_differ_in_comments_alone(language, data):
    pair = data.draw(testing.commented(language))
    if language == "python":
        assert dump(pair.a, docstrings=False) == dump(pair.b, docstrings=False)
    elif not (has_error(pair.a, language) or has_error(pair.b, language)):
        assert leaves(pair.a, language) == leaves(pair.b, language)


@languages
@given(data=st.data())
def test_separated_pairs_differ_in_separators_and_quotes_alone(language, data):
    pair = data.draw(testing.separated(language))
    quotes = "\"'\\\\" if language in ("python", "javascript", "typescript") else ""
    ends = ";" if language in ("python", "javascript", "typescript", "go") else ""
    left_out = f"[,{ends}{quotes}]"
    assert re.sub(left_out, "", bare(pair.a)) == re.sub(left_out, "", bare(pair.b))
    if language == "python":
        assert dump(pair.a) == dump(pair.b)


def string_values(text, language):
    """What the strings of a script mean: their parts, escapes of quotes undone."""
    parts = [
        node.text.decode()
        for node in nodes(text, language)
        if node.type in ("string_fragment", "escape_sequence")
    ]
    return "".join(part[1:] if part in ("\\'", '\\"') else part for part in parts)


@pytest.mark.parametrize("language", ["javascript", "typescript"])
@given(data=st.data())
def test_scripts_have_the_statements_and_strings_they_had(language, data):
    pair = data.draw(testing.separated(language))
    if not (has_error(pair.a, language) or has_error(pair.b, language)):
        assert string_values(pair.a, language) == string_values(pair.b, language)
        assert named_types(pair.a, language) == named_types(pair.b, language)


def named_types(text, language):
    in_strings = ("escape_sequence", "string_fragment", "empty_statement")
    found = nodes(text, language, comments=False)
    return Counter(node.type for node in found if node.is_named and node.type not in in_strings)


@languages
@given(data=st.data())
def test_renaming_is_one_to_one_and_leaves_all_else(language, data):
    pair = data.draw(testing.renamed(language))
    assert re.sub(r"[\w$]+", "x", pair.a) == re.sub(r"[\w$]+", "x", pair.b)
    forth, back = {}, {}
    fixed = set()
    for old, new in zip(words(pair.a), words(pair.b), strict=True):
        if old == new:
            fixed.add(old)
        else:
            assert forth.setdefault(old, new) == new
            assert back.setdefault(new, old) == old
    for text in (pair.a, pair.b):
        assert not set(forth) & set(re.findall(r"(?<![.\d])\.\s*([A-Za-z]\w*)", text)) - set(MEMBERS)
    grammar_words = set(forth) | set(back)
    assert not grammar_words & KEYWORDS


KEYWORDS = {
    *(
        "False",
        "None",
        "True",
        "and",
        "as",
        "async",
        "await",
        "break",
        "case",
        "class",
        "const",
        "def",
        "default",
    ),
    *(
        "else",
        "enum",
        "extends",
        "final",
        "fn",
        "for",
        "from",
        "func",
        "if",
        "impl",
        "import",
        "in",
        "int",
        "is",
    ),
    *(
        "lambda",
        "let",
        "match",
        "mut",
        "new",
        "not",
        "null",
        "of",
        "or",
        "range",
        "return",
        "self",
        "static",
        "this",
    ),
    *(
        "type",
        "typeof",
        "var",
        "void",
        "while",
        "with",
        "yield",
        "len",
        "print",
        "str",
        "list",
        "sum",
        "open",
        "map",
    ),
    *("append", "std", "format", "compute", "walk", "config", "LIMIT", "os", "fs", "js", "od", "Box"),
}


def test_renaming_also_trades_names_and_gives_new_ones():
    traded = gave = 0
    for pair in drawn(testing.renamed("go")):
        changed = {(a, b) for a, b in zip(words(pair.a), words(pair.b), strict=True) if a != b}
        traded += bool({a for a, _ in changed} & {b for _, b in changed})
        gave += bool({b for _, b in changed} - {a for a, _ in changed})
    assert traded >= 3
    assert gave >= 30


@languages
def test_locals_can_be_called_like_members(language):
    texts = [pair.a for pair in drawn(testing.renamed(language))]
    both = 0
    for text in texts:
        members = set(re.findall(r"\.\s*([A-Za-z]\w*)", text))
        both += any(re.search(rf"(?<![.\w])\s{name}\b", text) for name in members)
    assert both >= 3


@languages
@given(data=st.data())
def test_a_literal_is_all_that_is_another(language, data):
    pair = data.draw(testing.with_other_literal(language))
    assert pair.literal_a != pair.literal_b
    assert pair.literal_a in pair.a
    assert pair.literal_b in pair.b
    a, b, old, new = (bare(text) for text in (pair.a, pair.b, pair.literal_a, pair.literal_b))
    at = [match.start() for match in re.finditer(re.escape(old), a)] if old else range(len(a) + 1)
    assert any(a[:start] + new + a[start + len(old) :] == b for start in at)


@languages
def test_literals_of_all_kinds_become_others(language):
    kinds = Counter()
    for pair in drawn(testing.with_other_literal(language)):
        kinds["number" if re.match(r"\.?\d", pair.literal_a) else pair.literal_a[-1]] += 1
    assert kinds["number"] >= 8
    assert kinds['"'] >= 3
    if language not in ("python", "javascript", "typescript"):
        assert kinds["'"] >= 3


@languages
@given(data=st.data())
def test_a_secret_is_all_that_is_another(language, data):
    pair = data.draw(testing.with_other_secret(language))
    assert pair.secret_a != pair.secret_b
    assert not pair.secret_a.startswith(pair.secret_b)
    assert not pair.secret_b.startswith(pair.secret_a)
    assert pair.secret_a in pair.a
    assert pair.secret_a not in pair.b
    assert pair.a.replace(pair.secret_a, pair.secret_b) == pair.b
    a, b = pair.a.encode(), pair.b.encode()
    assert a[: pair.offset] == b[: pair.offset]
    assert a[pair.offset] != b[pair.offset]


@languages
def test_secrets_stand_in_all_places_of_valid_programs(language):
    for place in testing.places(language):
        pairs = drawn(testing.with_other_secret(language, place=place), 8)
        assert {pair.place for pair in pairs} == {place}
        if language == "python":
            for pair in pairs:
                ast.parse(pair.a)
        refused = [pair.a for pair in pairs if has_error(pair.a, language)]
        assert len(refused) <= (3 if language not in STRICT else 0), refused[0]


def test_secrets_stand_where_the_place_says():
    for language in testing.LANGUAGES:
        for pair in drawn(testing.with_other_secret(language, place="comment"), 8):
            assert re.search(r"(//|/\*|#) [^\r\n]*" + re.escape(pair.secret_a), pair.a)
        for pair in drawn(testing.with_other_secret(language, place="member"), 8):
            before, after = re.split(re.escape(pair.secret_a), pair.a, maxsplit=1)
            assert "." in before[-80:]
            assert "(" in after[:80]
        for pair in drawn(testing.with_other_secret(language, place="string"), 8):
            before, after = pair.a.split(pair.secret_a, 1)
            assert before[-1] in "\"'`(\n"
            assert after[0] in "\"'`)"
        for pair in drawn(testing.with_other_secret(language, place="number"), 8):
            assert re.search(rf"(?<![\w.]){pair.secret_a}(?![\w.])", pair.a)
        for pair in drawn(testing.with_other_secret(language, place="name"), 8):
            assert pair.secret_a in words(pair.a)
    for pair in drawn(testing.with_other_secret("python", place="docstring"), 15):
        described = [node for node in ast.walk(ast.parse(pair.a)) if isinstance(node, DOCUMENTED)]
        assert any(bare(pair.secret_a) in bare(ast.get_docstring(node) or "") for node in described)


def test_secrets_differ_in_all_ways():
    pairs = [pair for language in ("go", "python") for pair in drawn(testing.with_other_secret(language))]
    lengths = Counter(len(pair.secret_b) - len(pair.secret_a) for pair in pairs)
    assert set(lengths) == {-1, 0, 1}
    assert any(pair.secret_a.lower() == pair.secret_b.lower() for pair in pairs)
    assert any(bare(pair.secret_a) == bare(pair.secret_b) for pair in pairs)


# --- the rest


@given(st.data())
def test_cuts_lie_in_the_text(data):
    text = data.draw(testing.code("rust"))
    assert 0 <= data.draw(testing.cuts(text)) <= len(text.encode())
    assert 0 <= data.draw(testing.cuts(text.encode())) <= len(text.encode())


def test_cuts_reach_both_ends_and_the_middle_of_a_character():
    assert set(drawn(testing.cuts("é"), 50)) == {0, 1, 2}


@languages
def test_hostile_bytes_are_seldom_code(language):
    texts = drawn(testing.hostile(language), 100)
    broken = 0
    for text in texts:
        try:
            broken += has_error(text.decode(), language)
        except UnicodeDecodeError:
            broken += 1
    assert broken >= 30
    for scrap in (b"\x00", b"\r", b"("):
        assert any(scrap in text for text in texts), scrap
    assert any(len(text) > 100 for text in texts)


@given(testing.canaries())
def test_canaries_hold_their_secret(canary):
    assert 0 <= canary.secret.start < canary.secret.end <= len(canary.text)
    assert canary.kind == canary.secret.kind


def test_canaries_are_of_several_kinds():
    assert len({canary.kind for canary in drawn(testing.canaries(), 60)}) >= 3


@pytest.mark.parametrize(
    "strategy",
    [
        testing.code,
        testing.reformatted,
        testing.commented,
        testing.separated,
        testing.renamed,
        testing.with_other_literal,
        testing.with_other_secret,
        testing.hostile,
        testing.places,
    ],
)
def test_an_unknown_language_is_refused(strategy):
    with pytest.raises(ValueError, match=r"expected a language of python, .*, got 'cobol'"):
        strategy("cobol")


def test_an_unknown_place_is_refused():
    with pytest.raises(ValueError, match=r"expected a place of string, .*, got 'docstring'"):
        testing.with_other_secret("go", place="docstring")


def bound(node):
    """Slots that statements and expressions bind."""
    if isinstance(node, Let | Each | Count | Special | Closure | Peculiar):
        yield node.slot
    if isinstance(node, tuple):
        for part in node:
            yield from bound(part)


def test_no_local_is_bound_twice():
    # Scripts refuse it, and a renaming of the one would be a renaming of the other.
    several = 0
    for program in drawn(strategies._PROGRAMS, 200):
        for function in program.functions:
            slots = [*range(function.parameters), *bound(function.body)]
            assert len(slots) == len(set(slots))
            several += len(slots) > 4
    assert several >= 20


def test_no_bytes_are_a_program():
    program = grow(b"", [])
    assert len(program.functions) == 1
    assert program.functions[0].body
    assert program.literals


def in_a_fresh_interpreter(source):
    return subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, check=False)


def test_probes_do_not_import_their_strategies():
    done = in_a_fresh_interpreter(
        "import sys, probes; print('probes.testing' in sys.modules, 'hypothesis' in sys.modules)"
    )
    assert done.stdout.split() == ["False", "False"], done.stderr


def test_without_hypothesis_the_error_says_what_to_install():
    done = in_a_fresh_interpreter("import sys; sys.modules['hypothesis'] = None; import probes.testing")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        "ImportError: expected hypothesis, which is not installed; run: pip install 'memaudit[test]'"
    )
