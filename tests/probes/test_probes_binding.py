import random
import symtable
from collections import Counter
from functools import cache
from pathlib import Path

import numpy
import pytest
import tree_sitter
from hypothesis import given
from hypothesis import strategies as st
from probe_texts import compared, library_files

from probes.binding import bound, rename
from probes.languages import LANGUAGES, grammar, words
from probes.levels import tokenize
from probes.names import SYMBOL, is_spelled

SAMPLES = Path(__file__).parent / "samples"
languages = pytest.mark.parametrize("language", LANGUAGES)


@cache
def sample(language: str) -> bytes:
    return (SAMPLES / f"{language}.txt").read_bytes()


@cache
def headers() -> tuple[bytes, ...]:
    """The headers of NumPy that parse."""
    files = [file.read_bytes() for file in sorted(Path(numpy.get_include()).rglob("*.h"))]
    return tuple(text for text in files if not grammar("c").parse(text).root_node.has_error)


def captured(text: bytes, language: str) -> dict[str, list[tree_sitter.Node]]:
    known = grammar(language)
    root = known.parse(text).root_node
    assert not root.has_error
    return tree_sitter.QueryCursor(known.query("names")).captures(root)


def same(level: str, a: bytes, b: bytes, language: str) -> bool:
    first, second = (compared(tokenize(text, level=level, language=language)) for text in (a, b))
    return first == second


# --- the samples and the queries

CAPTURES = {"bound", "member", "imported", "alias", "shorthand", "separate", "scope", "outer", "exposed"}
# What a language does not have.
WITHOUT = {
    "python": {"shorthand"},
    "java": {"alias", "shorthand"},
    "go": {"exposed"},
    "c": {"imported", "alias", "shorthand"},
    "cpp": {"shorthand"},
}
# What stands in no sample, because it is rare.
RARE = {
    "javascript": b"let v = <List size={n}><item.row/><br/></List>;",
    "typescript": b"let { a: b } = c;",
    "java": b"package single;",
    "cpp": b"int (wrapped), (*other);",
}


@languages
def test_a_sample_is_long_and_parses(language):
    assert not grammar(language).parse(sample(language)).root_node.has_error
    assert sample(language).count(b"\n") >= 85


@languages
def test_every_capture_is_there(language):
    query = grammar(language).query("names")
    names = {query.capture_name(number) for number in range(query.capture_count)}
    assert {name for name in names if not name.startswith("_")} == CAPTURES - WITHOUT.get(language, set())
    assert set(captured(sample(language), language)) >= names


@languages
def test_every_pattern_of_a_query_finds_something(language):
    known = grammar(language)
    query = known.query("names")
    hit = set()
    for text in (sample(language), RARE.get(language, b"")):
        hit |= {number for number, _ in tree_sitter.QueryCursor(query).matches(known.parse(text).root_node)}
    assert hit == set(range(query.pattern_count))


@languages
def test_what_is_captured_are_words(language):
    found = captured(sample(language), language)
    starts = {token.start: token for token in tokenize(sample(language), level="layout", language=language)}
    for name in ("bound", "member", "imported", "alias", "shorthand", "separate"):
        for node in found.get(name, ()):
            if node.type in ("interpreted_string_literal_content", "label"):
                continue
            at = node.start_byte + (node.type == "private_property_identifier")
            assert starts[at].kind == "word"
            assert starts[at].end == node.end_byte


# --- the lexical rules are held to the queries

# Where they cannot agree, by language and (capture, kind of the node, kind of its parent): the largest share of the
# words with that capture, and why.
EXCEPTIONS = {
    # Whether `<` opens type arguments is not known before they are closed.
    "java": {("member", "identifier", "method_invocation"): 0.04},  # a.<T>f()
}


def disagreements(text: bytes, language: str) -> tuple[Counter, Counter, dict]:
    """Count the words of each capture, and those that level `renamed` reads otherwise."""
    found = captured(text, language)
    tokens = tokenize(text, level="renamed", language=language)
    at = {token.start: place for place, token in enumerate(tokens)}
    fixed = words(language)["keywords"] | words(language)["builtins"]
    imported = {part for node in found.get("imported", ()) for part in (node.text or b"").split(b"/")}
    total, wrong, where = Counter(), Counter(), {}
    for name in ("bound", "alias", "member", "imported"):
        for node in found.get(name, ()):
            word = node.text or b""
            if node.type == "interpreted_string_literal_content":
                continue
            binds = name in ("bound", "alias")
            if binds and (word in fixed or word in imported or is_spelled(word)):
                continue
            place = at[node.start_byte + word.startswith(b"#")]
            word = word.removeprefix(b"#")
            token, after = tokens[place].text, tokens[place + 1].text if place + 1 < len(tokens) else b""
            right = token == SYMBOL if binds else token == word or after in (word + b":", word + b"=")
            total[name] += 1
            if not right:
                case = (name, node.type, node.parent.type if node.parent else "")
                wrong[case] += 1
                where.setdefault(case, (node.start_point.row + 1, word))
    return total, wrong, where


def check(text: bytes, language: str) -> Counter:
    total, wrong, where = disagreements(text, language)
    allowed = EXCEPTIONS.get(language, {})
    assert {case: place for case, place in where.items() if case not in allowed} == {}
    for case, number in wrong.items():
        assert number <= allowed[case] * total[case[0]]
    return total


@languages
def test_renamed_agrees_with_the_query_on_the_sample(language):
    total = check(sample(language), language)
    assert total["bound"] >= 60
    assert total["member"] >= 15


def test_renamed_agrees_with_the_query_on_the_library_of_python():
    total = sum((check(text, "python") for text in library_files()), Counter())
    assert total["bound"] > 800
    assert total["member"] > 400
    assert total["imported"] > 10


def test_renamed_agrees_with_the_query_on_headers_of_c():
    total = sum((check(text, "c") for text in headers()), Counter())
    assert total["bound"] > 400


def test_a_word_that_is_read_otherwise_is_seen():
    # Not a name that can be bound for the query, but one for the lexical rules, and the other way round.
    assert disagreements(b"class A { void f() { a.<B>g(); } }", "java")[1]
    assert not disagreements(b"class A { void f() { a.g(); } }", "java")[1]


# --- which names are bound

BOUND = {
    "python": [
        ("def f(a, /, b: int, *c, d=1, e: int = 2, **g): return h", "a b c d e g"),
        ("x = 1\ndef f(y):\n    z = x + y\n    return z", "y z"),
        ("def f():\n    global x\n    x = y = 1", "y"),
        ("def f(x):\n    def g():\n        nonlocal x\n        x = 1\n    return g", "x g"),
        ("class A:\n    x = 1\n    def f(self): y = 1", "self y"),
        ("class A[T](B):\n    def f[U](self, t: T) -> U: pass", "T U self t"),
        ("type R[T, *Ts, **P] = T", "T Ts P"),
        ("[a for a in b if a]; {c: d for c, d in e}; lambda u, *v: u", "a c d u v"),
        ("def f(a, b, c, d):\n    a.b; f(c=1); d.x", "a d"),
        ("def f(a):\n    pass\na", ""),
        ("def f(a):\n    pass\ndef g():\n    return a", ""),
        ("def f(a):\n    import b, c as d\n    from e import g\n    b = d = g = h = 1", "a h"),
        ("def f(list, __x__, _, x): match = 1", "x"),
        ("def f(a, b):\n    f'{a=} {b}'", "b"),
        ("def f(s):\n    match s:\n        case A(b=c) as d: pass\n        case x.y: pass", "s c d"),
        ("def f(s):\n    match s:\n        case [e, *g] | {'k': h, **i}: pass", "s e g h i"),
        ("def f():\n    with a as b, c as (d, e): pass", "b d e"),
        ("def f():\n    try: pass\n    except E as g: pass", "g"),
        ("def f():\n    for h, (i, *j) in k: pass\n    (l := 1); [m, n] = o", "h i j l m n"),
    ],
    "javascript": [
        ("let a = 1; function f(b, [c, d = 1], ...e) { var g = a; for (const h of b) {} }", "b c d e g h"),
        ("function f({ a, b: c, d: { e }, ...g }) { return { h, i: g } }", "c g"),
        ("function f(a) { let b, c; return { b, [c]: 1, a() {} } }", "c"),
        ("const f = a => async (b) => { try {} catch (c) {} l: for (;;) break l; let l }", "a b c"),
        ("import a, { b, c as d } from 'e'; function f(a, b, c, g) { let d }", "g"),
        ("class A { #p = 1; q = 2; m(r) { let s = r.t, t } static { let u } }", "r s u"),
        ("class A { #p = 1; m(p, q) { return q } }", "q"),
        ("function f(item, row) { return <item size={row}/> }", "row"),
        ("function f(a) {} export { a as b }; function g(b, c) { let x; { let x } }", "c x"),
        ("function f() { const g = function h(a) { return h }, C = class D {}; return g }", "g h a C D"),
    ],
    "typescript": [
        ("function f<T extends U>(this: W, a: T, b?: number): a is T { return <T>a }", "T a b"),
        ("class A<V> { constructor(private x: V, readonly y: V, public z?: V, w = 1) {} }", "V w"),
        ("interface I<K> { a: K; m(k: K): void; [i: string]: K; new (n: K): I<K> }", "K k i n"),
        ("type M<T> = { [P in keyof T]: T[P] }", "T P"),
        ("type I<T> = T extends (a: Array<infer U>[]) => void ? T : B<infer V> extends C ? V : T", "T a U V"),
        ("namespace N { export function f(a: b.c) { let c; let d: b.D } }", "a d"),
    ],
    "java": [
        (
            "class A<T> { int x; <R> R m(T t, R... r) { int y = x, z[]; for (int i : z) {} } }",
            "T R t r y z i",
        ),
        ("class A { void f(int a, int b) { b(); this.a = a; l: for (;;) break l; int l, c; } }", "c"),
        ("class A { void f(Object o) { g = (x, y) -> z -> o; if (o instanceof S s) {} } }", "x y z o s"),
        ("class A { void f() { switch (o) { case R(var p, int q) -> p; case I n -> n; }; } }", "p q n"),
        ("record R(int a) { R { } void f(int b) { try (var c = a()) { } catch (E | F e) { } } }", "b c e"),
        ("import a.b.C; class A { void f(int b, int C, int d) { A.d(); class L { int e; } } }", "L"),
        ("class A { void f(int node) { } Node g(node x) { } int h() { return x; } }", ""),
    ],
    "go": [
        (
            "package p\nvar x int\nfunc (r *T) m(a, b int, c ...int) (d int, err error) { e, x := 1, 2 }",
            "r a b c d err e",
        ),
        ('package p\nimport "z/q"\nfunc f() { e, q, p, z := 1, 2, 3, 4 }', "e"),
        (
            "package p\nfunc f[T any](a []T) { type L struct { s int }; const k = 1; var v L; v.s = k }",
            "a L k v",
        ),
        ("package p\nfunc f(a, k, m int) { _ = T{a: 1}; _ = map[int]int{k: 1}; _ = []T{{m: 1}} }", "k"),
        ("package p\nfunc f() { for i, v := range x { }\nl: goto l }", "i v"),
        ("package p\nfunc f() { { type L int }; { var x L } }", "x"),
        (
            "package p\nfunc f() { switch t := v.(type) { case int: u := t }; select { case m, ok := <-c: } }",
            "t u m ok",
        ),
    ],
    "rust": [
        (
            "const X: u8 = 1; fn f<'a, T: U, const N: usize>(a: &'a T, (b, c): (u8, u8)) -> T {}",
            "'a T N a b c",
        ),
        ("const X: u8 = 1; fn f() { let d = X; const K: u8 = 1; fn g(e: u8) {} }", "d K g e"),
        ("fn f(a: u8, b: u8, c: u8) { S { a, b: c }; d.c; }", ""),
        ('fn f(a: u8, b: u8, c: u8, d: u8) { g!(a, b.c, d = 1, "{c}"); h! { a }; }', "b"),
        ("fn f(x: u8) { match x { Some(y) if y > 1 => y, None | A => 1, q @ 1..=2 => q } }", "x y q"),
        ("fn f(x: u8) { match x { B { z, w: v } => v, ref u => 1, &(mut r) => r } }", "x v u r"),
        ("impl<T> A for B<T> { type O = T; const C: u8 = 1; fn f(&self, x: T) { |a, &b| a; } }", "T x a b"),
        ("fn f(a: u8, b: u8, c: u8, d: u8) { g!(x.a.b, y::c::d, c) }", ""),
        ("fn f(l: u8) { 'l: loop { break 'l } }", "l"),
        ("enum E<T> { A(T), B { c: T } } mod m { pub fn f(d: u8) {} static S: u8 = 1; }", "T d"),
        ("use a::{b, c as d}; fn f(b: u8, c: u8, d: u8, e: u8) {}", "e"),
    ],
    "c": [
        ("int g; int f(int a, char *b, int c[], int (*d)(int e)) { return a; }", "a b c d e"),
        ("int g; int f() { int x = g, *y; static int z; { int w; } return x; }", "x y z w"),
        ("#define M(p) ((p) + q)\nint f(int p, int q, int r) { extern int s; s = r; }", "r"),
        ("int f() { struct t { int u; }; int t, u, v; v.w = 1; l: goto l; }", "v"),
        ("typedef struct { int a; } T; int f(T t) { for (int i = 0;;) {} int a; }", "t i"),
        ("int f(int a) { typedef int L; L x; { int b; } { b; } return a; }", "a L x"),
        ("int f(int a, char *b); typedef int (*F)(int l); int (*g)(int h);", "a b l h"),
        ("int f() { int g(int a); return g(1); }", "a"),
    ],
    "cpp": [
        ("template <typename T, int N, class... R> struct Q { T x; Q(T t) : x(t) {} };", "T N R t"),
        ("using std::move; namespace fs = std::x; int f(int move, int fs, int &a, int &&b) {}", "a b"),
        ("int f(int a, int b = 1) { N::a; auto g = [h = 1](auto... i) { return h; }; }", "b g h i"),
        ("int f() { for (auto &[k, v] : t) {} try {} catch (E &e) {} }", "k v e"),
        ("template <typename T> auto f(T x) -> T { return x; } template <typename U> U v = 1;", "x U"),
        ("template <typename T> void f() { typename T::x y; }", "y"),
    ],
}


@pytest.mark.parametrize(
    ("language", "text", "expected"),
    [(language, *case) for language, cases in BOUND.items() for case in cases],
)
def test_the_names_that_can_be_renamed_are_found(language, text, expected):
    assert {name.decode() for name in bound(text.encode(), language)} == set(expected.split())


def _tables(table: symtable.SymbolTable) -> list[symtable.SymbolTable]:
    return [table, *(inner for child in table.get_children() for inner in _tables(child))]


def test_the_names_that_can_be_renamed_are_local_to_python_too():
    number = 0
    for text in library_files():
        tables = _tables(symtable.symtable(text.decode(), "file", "exec"))
        for name in (name.decode() for name in bound(text, "python")):
            symbols = [(t.get_type(), t.lookup(name)) for t in tables if name in t.get_identifiers()]
            assert symbols
            assert not any(symbol.is_global() for _, symbol in symbols), name
            assert all(symbol.is_free() for kind, symbol in symbols if kind in ("module", "class")), name
            number += 1
    assert number > 150


@languages
def test_names_that_can_be_renamed_are_bound_and_nothing_else(language):
    names = bound(sample(language), language)
    found = captured(sample(language), language)
    assert names <= {node.text for node in found["bound"]}
    assert names.isdisjoint(words(language)["keywords"] | words(language)["builtins"])
    for other in ("member", "imported", "alias", "shorthand", "separate"):
        assert names.isdisjoint({node.text for node in found.get(other, ())}), other
    assert len(names) > 15


def test_a_string_that_spells_a_name_does_not_keep_it():
    text = b'class A { int f(int b) { return b; } String g() { return "b"; } }\n'
    assert bound(text, "java") == {b"b"}
    assert b'"b"' in rename(text, {b"b": b"c"}, language="java")


# --- renaming


def fresh(text: bytes, names: list[bytes], draw: random.Random) -> dict[bytes, bytes]:
    """New names for all of `names`: some trade places, the others get names that are not in the text.

    In Rust's patterns a capital tells a constant from a variable.
    """
    values = [name for name in names if not name.startswith(b"'") and not name[:1].isupper()]
    traded = draw.sample(values, draw.randint(0, len(values)))
    numbers = draw.sample(range(100_000), len(names))
    mapping = dict(zip(traded, draw.sample(traded, len(traded)), strict=True))
    for name, number in zip(names, numbers, strict=True):
        new = b"%bw%d_" % (b"'" if name.startswith(b"'") else b"", number)
        assert new not in text
        mapping.setdefault(name, new)
    return mapping


def words_in(text: bytes, language: str) -> set[bytes]:
    return {token.text for token in tokenize(text, level="code", language=language) if token.kind == "word"}


def check_renaming(text: bytes, language: str, seed: int) -> None:
    draw = random.Random(seed)
    names = sorted(bound(text, language))
    names = draw.sample(names, draw.randint(1, len(names)))
    mapping = fresh(text, names, draw)
    after = rename(text, mapping, language=language)
    changed = any(old != new for old, new in mapping.items())
    assert same("renamed", text, after, language)
    assert same("code", text, after, language) != changed
    assert words_in(after, language) == {mapping.get(word, word) for word in words_in(text, language)}
    assert bound(after, language) == {mapping.get(name, name) for name in bound(text, language)}
    back = {new: old for old, new in mapping.items()}
    assert rename(after, back, language=language) == text


@given(st.sampled_from(sorted(LANGUAGES)), st.integers(0, 2**32))
def test_renaming_shows_at_level_code_alone_and_can_be_undone(language, seed):
    check_renaming(sample(language), language, seed)


@pytest.mark.parametrize("number", range(len(library_files())))
def test_renaming_the_library_of_python_shows_at_level_code_alone(number):
    text = library_files()[number]
    if bound(text, "python"):
        check_renaming(text, "python", number)
        compile(
            rename(text, fresh(text, sorted(bound(text, "python")), random.Random(1)), language="python"),
            "",
            "exec",
        )


@pytest.mark.parametrize(
    ("language", "before", "names", "after"),
    [
        ("python", "def f(a): return 'a', f'{a}', b.c(a)  # a", "a:z", "def f(z): return 'a', f'{z}', b.c(z)  # a"),
        ("python", "def f(a, b): return a - b", "a:b b:a", "def f(b, a): return b - a"),
        ("python", "def f(a, b): return a - b", "a:long", "def f(long, b): return long - b"),
        ("python", "def f(größe): return größe", "größe:é", "def f(é): return é"),
        ("python", "def f(e\u0301): return é", "é:z", "def f(z): return z"),
        ("javascript", "let f = a => `${a}a`", "a:$", "let f = $ => `${$}a`"),
        ("rust", "fn f<'a>(a: &'a u8) { g!(a) }", "'a:'b a:c", "fn f<'b>(c: &'b u8) { g!(c) }"),
        ("rust", "fn f(r#type: u8) { r#type }", "r#type:a", "fn f(a: u8) { a }"),
        ("c", "int f(int a) { return a + 'a'; }", "a:b", "int f(int b) { return b + 'a'; }"),
        ("cpp", "template <class T> T f(T t);", "T:U", "template <class U> U f(U t);"),
    ],
)  # fmt: skip
def test_a_name_is_replaced_where_it_stands_for_the_local(language, before, names, after):
    mapping = dict(pair.split(":") for pair in names.split())
    encoded = {old.encode(): new.encode() for old, new in mapping.items()}
    assert rename(before.encode(), encoded, language=language).decode() == after


def test_renaming_nothing_changes_nothing():
    assert rename(b"def f(a): pass", {}, language="python") == b"def f(a): pass"


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ({b"f": b"z"}, r"expected names that bound\(text, 'python'\) returns, got 'f'; leave them out"),
        ({b"x": b"y"}, "got 'x'; leave them out"),
        ({b"a": b"z", b"b": b"z"}, "expected a new name of its own for each name, got 'z' twice"),
        ({b"a": b"b"}, "expected names that are not in the text, got 'b'; set others"),
        ({b"a": b"f"}, "expected names that are not in the text, got 'f'"),
        ({b"a": b"for"}, "expected a name that python programs can bind, got 'for'; set another"),
        ({b"a": b"len"}, "python programs can bind, got 'len'"),
        ({b"a": b"match"}, "python programs can bind, got 'match'"),
        ({b"a": b"_"}, "python programs can bind, got '_'"),
        ({b"a": b"__z__"}, "python programs can bind, got '__z__'"),
        ({b"a": b"1z"}, "python programs can bind, got '1z'"),
        ({b"a": b"y z"}, "python programs can bind, got 'y z'"),
        ({b"a": b" z"}, "python programs can bind, got ' z'"),
        ({b"a": b""}, "python programs can bind, got ''"),
        ({b"a": b"\xff"}, "python programs can bind"),
    ],
)  # fmt: skip
def test_a_renaming_that_would_change_what_is_meant_is_refused(names, message):
    with pytest.raises(ValueError, match=message):
        rename(b"def f(a, b): return a, b  # note", names, language="python")


def test_a_new_name_is_looked_for_where_code_can_mean_it():
    for text, new, language in (
        (b'fn f(a: u8) { g!("{b}", a) }', "b", "rust"),
        ("def f(a): return é".encode(), "e\u0301", "python"),
        (b"#define M b\nint f(int a) { return M; }", "b", "c"),
    ):
        with pytest.raises(ValueError, match="expected names that are not in the text"):
            rename(text, {b"a": new.encode()}, language=language)
    assert (
        rename(b"def f(a): return 'b'  # b", {b"a": b"b"}, language="python") == b"def f(b): return 'b'  # b"
    )


def test_a_lifetime_is_renamed_to_a_lifetime():
    text = b"fn f<'a>(x: &'a u8) {}"
    for names in ({b"'a": b"b"}, {b"x": b"'b"}):
        with pytest.raises(ValueError, match="expected a lifetime for a lifetime alone"):
            rename(text, names, language="rust")


@pytest.mark.parametrize("act", [bound, lambda text, language: rename(text, {}, language=language)])
def test_a_text_with_errors_is_refused(act):
    with pytest.raises(ValueError, match="expected python that parses, got an error in line 3"):
        act(b"a = 1\nb = 2\nc = (\n", "python")
    with pytest.raises(ValueError, match="expected java that parses, got an error in line 1"):
        act(b"class {", "java")


def test_an_unknown_language_is_refused():
    with pytest.raises(
        ValueError, match=r"expected one of python, .*, got 'cobol'; set language to one of them"
    ):
        bound(b"x", "cobol")
