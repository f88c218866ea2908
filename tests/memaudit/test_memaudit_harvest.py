"""Harvesting definitions from single files, held to Python's own parser where the text is Python."""

import ast
import sys
import textwrap
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

import probes
from memaudit.harvest import harvest
from memaudit.sources import stdlib_files

FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


def cut(source, smallest=1, largest=100_000, language="python"):
    """Harvests a text and checks what holds for every text: order, bounds, and agreement with the file's lines."""
    lines = source.split("\n")
    found = harvest(source.encode(), language=language, smallest=smallest, largest=largest)
    assert all(before.last_line < after.first_line for before, after in pairwise(found))
    for definition in found:
        assert smallest <= len(definition.text) <= largest
        assert definition.text.endswith("\n")
        own = definition.text.removesuffix("\n").split("\n")
        theirs = lines[definition.first_line - 1 : definition.last_line]
        assert len(own) == len(theirs)
        before = theirs[0].removesuffix(own[0])
        assert before + own[0] == theirs[0]
        assert not before.strip(" \t\f")
        indent = before.rpartition("\f")[2]
        for mine, line in zip(own[1:], theirs[1:], strict=True):
            assert indent + mine == line or (mine == "" and indent.startswith(line))
    return found


def texts(source, **bounds):
    return [definition.text for definition in cut(source, **bounds)]


def ranges(source, **bounds):
    return [(definition.first_line, definition.last_line) for definition in cut(source, **bounds)]


@pytest.mark.parametrize(
    "source",
    [
        "def f(a):\n    return a\n",
        "async def f(a):\n    return a  # the same\n",
        "@first\n# why\n@second(1)\n\nclass C:\n    x = 1\n",
        "def f(): x = 1; return x\n",
        "def f():\n    '''Shift\nleft.'''\n    return '''\n  as it is\n'''\n",
        "def f(a,\n  b):\n\treturn a\n",
        "class C:\n    def f(self): pass\n\n    @staticmethod\n    def g(): pass\n",
    ],
)
def test_a_definition_at_the_top_level_keeps_its_exact_text(source):
    assert texts("x = 1\n" + source + "y = 2\n") == [source]
    assert texts(source.removesuffix("\n")) == [source]


def test_a_function_within_a_function_is_not_a_unit_of_its_own():
    source = "def f():\n    def g():\n        return 1\n    return g\n"
    assert texts(source) == [source]
    assert texts(source, largest=len(source) - 1) == []


def test_definitions_inside_if_and_try_are_found_and_dedented():
    source = """
    if a:
        def f(): return 1
    elif b:
        if c:
            def g():
                return 2
    else:
        class C:
            x = 3
    try:
        def h(): return 4
    except A:
        def h(): return 5
    else:
        def i(): return 6
    finally:
        def j(): return 7
    """
    assert texts(textwrap.dedent(source)) == [
        "def f(): return 1\n",
        "def g():\n    return 2\n",
        "class C:\n    x = 3\n",
        "def h(): return 4\n",
        "def h(): return 5\n",
        "def i(): return 6\n",
        "def j(): return 7\n",
    ]


def test_a_class_that_is_too_large_gives_its_methods_and_inner_classes():
    methods = ["@property\ndef f(self):\n    return 1\n", "def g(self):\n    return 2\n"]
    inner = "class D:\n    " + methods[1].replace("\n    ", "\n        ")
    body = "".join(textwrap.indent(part, "    ") + "\n" for part in [*methods, inner])
    source = "class C:\n    '''Two methods and a class.'''\n\n" + body
    whole = source.removesuffix("\n\n") + "\n"
    assert texts(source) == [whole]
    assert texts(source, largest=len(whole)) == [whole]
    assert texts(source, largest=len(whole) - 1) == [*methods, inner]
    assert texts(source, largest=len(inner) - 1) == [*methods, methods[1]]
    assert texts(source, smallest=len(methods[1]) + 1, largest=len(inner)) == [methods[0], inner]


def test_size_is_counted_in_characters_with_the_final_newline():
    source = 'def f():\n    return "žluťoučký 🐎"\n'
    assert len(source.encode()) > len(source)
    assert texts(source, smallest=len(source), largest=len(source)) == [source]
    assert texts(source, largest=len(source) - 1) == []
    assert texts(source, smallest=len(source) + 1) == []


@pytest.mark.parametrize(
    "bad",
    [
        "def f(:\n    pass\n",
        "def f():\n    return (1\n",
        "@\ndef f():\n    pass\n",
        "@a(\ndef f():\n    pass\n",
        "class C:\n    def f(self):\n        x = = 1\n",
        "def f():\n    x\n    )(\n    y\n",
        "def f():\n    x = 1\n  y = 2\n",
        "def f():\n    a\rb = 1\n",
        "def f():\n    return 'a\r'  # not one line to Python\n",
        "def f(): pass \\\n\n",
    ],
)
def test_what_does_not_parse_is_left_out_and_the_rest_is_kept(bad):
    good = "def good():\n    return 1\n"
    assert texts(f"{good}\n{bad}\nx = 1\n{good}") == [good, good]
    assert texts(f"{good}\n{bad}") == [good]


def test_what_stands_in_a_broken_file_is_found_and_what_stands_in_a_broken_part_is_not():
    good = "def good():\n    return 1\n"
    assert texts(good + "class C:\n    (") == [good]  # the parser calls all of the file an error
    assert texts(good + "x = (1,\ndef f(): pass\n") == [good]


def test_definitions_in_loops_and_the_like_are_not_those_of_the_file():
    for head in ("for x in y:", "while x:", "with x:", "match x:\n  case 1:", "async for x in y:"):
        assert texts(f"{head}\n    def f(): pass\n") == []
        assert texts(f"if x:\n  {head.replace(chr(10), chr(10) + '  ')}\n      def f(): pass\n") == []
    assert texts("if x:\n    def f(): pass\n") == ["def f(): pass\n"]


def test_an_error_in_one_method_of_a_large_class_costs_that_method_only():
    source = "class C:\n    def f(self):\n        return 1\n\n    def g(self):\n        x = = 1\n\nx = 1\n"
    assert texts(source, largest=40) == ["def f(self):\n    return 1\n"]
    assert texts(source) == []


def test_what_cannot_be_dedented_is_left_out():
    method = "    def f(self):\n        return {}\n"
    assert texts("class C:\n" + method.format("0  # plain") + method.format("1"), largest=40) == [
        "def f(self):\n    return 0  # plain\n",
        "def f(self):\n    return 1\n",
    ]
    for awkward in ("(\n1)", "0\n# left\n        pass", "0\n  # left\n        pass", "0\n\t\n        pass"):
        assert texts("class C:\n" + method.format(awkward) + method.format("1"), largest=40) == [
            "def f(self):\n    return 1\n"
        ]


def test_dedenting_changes_docstrings_but_no_value():
    docstring = "if a:\n    def f():\n        '''One\n\n        two.'''\n"
    assert texts(docstring) == ["def f():\n    '''One\n\n    two.'''\n"]
    for value in ("'''a\n        b'''", '"a\\\n        b"', "f'''{x}\n        b'''", "'a' '''\n        b'''"):
        assert texts(f"if a:\n    def f():\n        return {value}\n") == []
        assert len(texts(f"def f():\n        return {value}\n")) == 1


def test_blank_lines_are_kept_as_they_are():
    source = "if a:\n    def f():\n        x = 1\n\n  \n    \n      \n        return x   \n"
    assert texts(source) == ["def f():\n    x = 1\n\n\n\n  \n    return x   \n"]


def test_tabs_and_form_feeds():
    source = (
        "if a:\n\tdef f():\n\t\treturn 1\n\x0c\n"
        "def g():\n    return '\x0b \x1c \x85 \u2028'\n"
        "\x0cdef h():\n  pass\n"
    )
    assert texts(source) == [
        "def f():\n\treturn 1\n",
        "def g():\n    return '\x0b \x1c \x85 \u2028'\n",
        "def h():\n  pass\n",
    ]
    # Line 4 is the one with the form feed: only a newline ends a line.
    assert ranges(source) == [(2, 3), (5, 6), (7, 8)]


def test_white_space_and_comments_may_follow_at_any_depth():
    for after in ("      ", "      # end", "\n\t\n  # end\n\n      "):
        assert ranges("def f():\n    return 1\n" + after)[0][0] == 1


def test_nothing_is_found_in_nothing():
    for source in ("", "\n", "x = 1", "# def f(): pass\n", "def", "\x00", "'''\ndef f(): pass\n'''"):
        assert texts(source) == []


def test_a_deep_tree_is_no_trouble():
    depth = 400
    source = "".join(" " * level + "if x:\n" for level in range(depth)) + " " * depth + "def f(): pass\n"
    assert texts(source) == ["def f(): pass\n"]
    assert texts("def f():\n    return " + "(" * 20_000 + ")" * 20_000 + "\n") != []


@pytest.fixture(scope="module")
def library():
    """Every eighth file of the standard library, as text and as Python's own tree."""
    sample = []
    for file in stdlib_files(())[::8]:
        with open(file.path, encoding="utf-8", newline="") as stream:
            source = stream.read()
        sample.append((source, ast.parse(source)))
    assert len(sample) > 50
    return sample


def definitions(tree, source, largest):
    """Python's own list of what `harvest` looks for, as first line -> node."""
    lines = source.split("\n")
    found, pending = {}, list(tree.body)
    while pending:
        node = pending.pop()
        if isinstance(node, (*FUNCTIONS, ast.ClassDef)):
            first = min([node.lineno] + [decorator.lineno for decorator in node.decorator_list])
            size = sum(max(len(line) - node.col_offset, 0) + 1 for line in lines[first - 1 : node.end_lineno])
            if size > largest and isinstance(node, ast.ClassDef):
                pending += node.body
            else:
                found[first] = (node, size)
        elif isinstance(node, ast.If):
            pending += node.body + node.orelse
        elif isinstance(node, ast.Try):
            pending += node.body + node.orelse + node.finalbody
            pending += [statement for handler in node.handlers for statement in handler.body]
    return found


def bare(node):
    """The tree without strings that are statements (docstrings), as text."""
    for inner in ast.walk(node):
        if isinstance(body := getattr(inner, "body", None), list):
            inner.body = [
                statement
                for statement in body
                if not (
                    isinstance(statement, ast.Expr)
                    and isinstance(statement.value, ast.Constant | ast.JoinedStr)
                )
            ]
    return ast.dump(node)


def test_on_the_standard_library_it_finds_what_pythons_parser_finds(library):
    wanted = missed = foreign = 0
    for source, tree in library:
        expected = definitions(tree, source, 1500)
        found = {definition.first_line: definition for definition in cut(source, smallest=100, largest=1500)}
        fitting = {first for first, (_, size) in expected.items() if 100 <= size <= 1500}
        wanted += len(fitting)
        missed += len(fitting - found.keys())
        foreign += len(found.keys() - expected.keys())
        for first in found.keys() & expected.keys():
            assert bare(ast.parse(found[first].text).body[0]) == bare(expected[first][0])
    assert wanted > 500
    # The rest cannot be dedented, or differs in size by comments at its end, which Python's tree does not hold.
    assert missed <= wanted / 50
    assert foreign <= wanted / 200


NAMES = st.sampled_from(["f", "g", "naïve", "_x"])
STATEMENTS = st.sampled_from(
    [
        "pass",
        "x = 1  # one",
        "return '''a\n  b'''",
        "'''A\n    docstring.'''",
        "call(1,\n2)",
        "# left",
        "",
        "y = 'é'",
    ]
)


@st.composite
def blocks(draw, depth=0):
    """The lines of a piece of Python at no indentation; nested pieces are indented."""
    unit = draw(st.sampled_from(["    ", "\t", " "]))
    kind = draw(st.sampled_from(["def", "class", "if", "try", "plain"] if depth < 3 else ["def", "plain"]))
    if kind == "plain":
        return ["x = 0", ""]
    name = draw(NAMES)
    decorators = [f"@{name}"] * draw(st.integers(0, 2))
    if kind == "def":
        body = "\n".join([*draw(st.lists(STATEMENTS, max_size=4)), "pass"])
        return [*decorators, draw(st.sampled_from(["", "async "])) + f"def {name}():", *indented(body, unit)]
    inner = "\n".join(
        line for part in draw(st.lists(blocks(depth + 1), min_size=1, max_size=3)) for line in part
    )
    if kind == "class":
        return [*decorators, f"class {name}:", *indented(inner, unit)]
    if kind == "if":
        return ["if x:", *indented(inner, unit), "else:", *indented(inner, unit)]
    return ["try:", *indented(inner, unit), "finally:", *indented(inner, unit)]


def indented(text, unit):
    return [line if line in ("", "# left", "  b'''", "2)") else unit + line for line in text.split("\n")]


MODULES = st.lists(blocks(), max_size=4).map(lambda parts: "\n".join(line for part in parts for line in part))


@given(MODULES, st.integers(1, 40), st.integers(0, 200))
def test_units_of_a_module_are_disjoint_fit_the_bounds_and_parse(source, smallest, more):
    ast.parse(source)
    for definition in cut(source, smallest=smallest, largest=smallest + more):
        (node,) = ast.parse(definition.text).body
        assert isinstance(node, (*FUNCTIONS, ast.ClassDef))


@given(MODULES, st.integers(0, 5))
def test_lines_above_move_the_ranges_and_change_nothing_else(source, count):
    above = "# \u2028 above\n" * count
    assert texts(above + source) == texts(source)
    assert ranges(above + source) == [(first + count, last + count) for first, last in ranges(source)]


@given(MODULES)
def test_without_bounds_every_definition_at_the_top_level_is_found(source):
    top = [node for node in ast.parse(source).body if isinstance(node, (*FUNCTIONS, ast.ClassDef))]
    found = {definition.first_line: definition.last_line for definition in cut(source)}
    for node in top:
        first = min([node.lineno] + [decorator.lineno for decorator in node.decorator_list])
        assert found[first] >= node.end_lineno


# Languages with braces


SAMPLES = {
    "javascript": """\
import x from 'x'

// Doubles.
function twice (a) {
  return 2 * a
}

/**
 * A point.
 */
export class Point {
  #x = 1

  // Moves it.
  move (by) {
    this.#x += by
  }

  get x () {
    return this.#x
  }

  reset = () => {
    this.#x = 0
  }
}

export const half = (a) => {
  return a / 2
}; // the other way

(function (root) {
  function hidden () {
    return root
  }
  root.shown = async function* () {
    yield hidden()
  }
})(this)

module.exports = {
  twice,
  thrice: function (a) {
    return 3 * a
  },
  zero () {
    return 0
  },
}
""",
    "typescript": """\
/** One shape. */
export interface Shape {
  area(): number;
}

type Pair<T> = {
  left: T;
};

declare enum Colour {
  Red,
}

@Component({ a: 1 })
export abstract class Square implements Shape {
  constructor(private readonly side: number) {
    super();
  }

  /** Its area. */
  @memoized()
  @logged()
  area(): number {
    return this.side ** 2;
  }

  abstract name(): string;
}

namespace inner {
  export function generic<T extends Shape>(a: T): T {
    return a;
  }
}
""",
    "java": """\
package a;

/** A store. */
@Deprecated
public class Store<K> {
    private int size;

    /**
     * Adds.
     */
    @Override
    public void add(K key) {
        size++;
    }

    Store() {
        this.size = 0;
    }

    enum Kind {
        BIG;

        int rank() {
            return 1;
        }
    }

    record Pair(int a, int b) {
    }

    static {
        System.out.println();
    }
}

interface Visitor {
    default void visit() {
    }
}
""",
    "go": """\
package a

// Point is a point.
type Point struct {
	X int
}

// Move moves it.
// By how much, is said.
func (p *Point) Move(by int) {
	p.X += by
}

func Twice[T any](a T) []T {
	return []T{a, a}
}
""",
    "rust": """\
use std::fmt;

/// A point,
/// which can move.
#[derive(Debug)]
pub struct Point {
    x: i32,
}

impl fmt::Display for Point {
    // Shows it.
    #[inline]
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{}", self.x)
    }
}

pub enum Way {
    Up,
}

macro_rules! twice {
    ($a:expr) => { $a + $a };
}

mod tests {
    #[test]
    fn adds() {
        assert_eq!(1 + 1, 2);
    }
}

trait Moves {
    fn step(&self) -> i32 {
        1
    }
}
""",
    "c": """\
#include <stdio.h>

/* A point. */
struct point {
    int x;
};

typedef struct {
    int y;
} other_t; /* not a point */

static enum way { UP, DOWN } now = UP;

#ifdef MOVES
// Moves it.
static int move(struct point *p)
{
    return p->x++;
}
#endif

int declared(void);

struct box {
    struct point corner;
} origin;
""",
    "cpp": """\
namespace geometry {

/// A point.
template <typename T>
class Point : public Base {
public:
    Point() : x(0) {}

    // Moves it.
    template <typename U>
    void move(U by) {
        x += by;
    }

    friend int norm(Point a) {
        return a.x;
    }

    int declared() const;

private:
    T x;
};

enum class Way { Up, Down };

}  // namespace geometry

extern "C" {
int plain(int a) {
    return a;
}
}

void geometry::Point<int>::stop() noexcept {
    x = 0;
}
""",
}


def first_lines(language, **bounds):
    return [text.partition("\n")[0] for text in texts(SAMPLES[language], language=language, **bounds)]


@pytest.mark.parametrize(
    ("language", "whole"),
    [
        (
            "javascript",
            [
                "// Doubles.",
                "/**",
                "export const half = (a) => {",
                "function hidden () {",
                "root.shown = async function* () {",
                "thrice: function (a) {",
                "zero () {",
            ],
        ),
        (
            "typescript",
            [
                "/** One shape. */",
                "type Pair<T> = {",
                "declare enum Colour {",
                "@Component({ a: 1 })",
                "export function generic<T extends Shape>(a: T): T {",
            ],
        ),
        ("java", ["/** A store. */", "interface Visitor {"]),
        ("go", ["// Point is a point.", "// Move moves it.", "func Twice[T any](a T) []T {"]),
        (
            "rust",
            [
                "/// A point,",
                "impl fmt::Display for Point {",
                "pub enum Way {",
                "macro_rules! twice {",
                "#[test]",
                "trait Moves {",
            ],
        ),
        (
            "c",
            [
                "/* A point. */",
                "typedef struct {",
                "static enum way { UP, DOWN } now = UP;",
                "// Moves it.",
                "struct box {",
            ],
        ),
        (
            "cpp",
            [
                "/// A point.",
                "enum class Way { Up, Down };",
                "int plain(int a) {",
                "void geometry::Point<int>::stop() noexcept {",
            ],
        ),
    ],
)
def test_each_language_gives_its_outermost_definitions_with_what_leads_them(language, whole):
    assert first_lines(language) == whole


@pytest.mark.parametrize(
    ("language", "largest", "opened"),
    [
        ("javascript", 85, ["// Moves it.", "get x () {", "reset = () => {"]),
        ("typescript", 110, ["constructor(private readonly side: number) {", "/** Its area. */"]),
        (
            "java",
            130,
            ["/**", "Store() {", "enum Kind {", "record Pair(int a, int b) {", "static {"],
        ),
        ("rust", 150, ["// Shows it."]),
        ("cpp", 110, ["Point() : x(0) {}", "// Moves it.", "friend int norm(Point a) {"]),
    ],
)
def test_in_each_language_a_class_that_is_too_large_gives_what_it_holds(language, largest, opened):
    whole, parts = first_lines(language), first_lines(language, largest=largest)
    assert [line for line in parts if line not in whole or line in opened] == opened
    assert len(parts) > len(opened)


@pytest.mark.parametrize("language", SAMPLES)
def test_in_each_language_a_definition_reads_as_in_its_file(language):
    source = SAMPLES[language]
    for bounds in ({}, {"largest": 100}):
        for definition in cut(source, language=language, **bounds):
            lines = source.split("\n")[definition.first_line - 1 : definition.last_line]
            assert definition.text == textwrap.dedent("\n".join(lines)) + "\n"


@pytest.mark.parametrize("language", SAMPLES)
def test_in_each_language_lines_above_move_the_ranges_and_change_nothing_else(language):
    source = SAMPLES[language]
    assert texts("\n\n" + source, language=language) == texts(source, language=language)
    assert ranges("\n\n" + source, language=language) == [
        (first + 2, last + 2) for first, last in ranges(source, language=language)
    ]


def test_a_comment_belongs_to_the_definition_on_the_next_line_only():
    function = "int f(void) { return 1; }\n"
    for apart in ("// a\n\n", "int x; // a\n", "#define X // a\n", "/* a */ int x;\n", "  // a\n"):
        assert texts(apart + function, language="c") == [function]
    for above in ("// a\n// b\n", "/* a\n   b */\n", "/* a */ // b\n", "// a\n/* b */ "):
        assert texts("int x;\n" + above + function, language="c") == [above + function]
    assert texts("// a\n\n// b\n" + function, language="c") == ["// b\n" + function]


def test_an_attribute_on_the_same_line_belongs_to_the_definition():
    source = "mod m {\n    /// a\n    #[x] #[y]\n    #[inline] fn f() {}\n}\n"
    assert texts(source, language="rust") == ["/// a\n#[x] #[y]\n#[inline] fn f() {}\n"]


@pytest.mark.parametrize(
    ("language", "source"),
    [
        ("javascript", "function f () {\n  return 1\n} function g () {\n  return 2\n}\n"),
        ("javascript", "if (a) { function f () {\n  return 1\n} }\n"),
        ("javascript", "function f () {\n  return (1\n}\n"),
        ("go", "func f() {\n\tx := \n}\n"),
        ("rust", "fn f( {\n}\n"),
        ("c", "int f(void) { return 1; } int x;\n"),
        ("c", "int f(void) { return 1; } /* a\n*/\n"),
        ("c", "int f(void) {\r return 1; }\n"),
        ("java", "class A { void f() { int = 1; } }\n"),
    ],
)
def test_in_each_language_what_does_not_parse_or_shares_a_line_is_left_out(language, source):
    assert texts(source, language=language) == []


@pytest.mark.parametrize(
    ("language", "head", "value", "tail"),
    [
        ("javascript", "class C {\n  f () {\n", "    return {}\n", "  }\n  g () {\n    return 1\n  }\n}\n"),
        ("java", "class C {\n  void f() {\n", "    g({});\n", "  }\n  int g() {\n    return 1;\n  }\n}\n"),
        ("rust", "mod m {\n  fn f() {\n", "    g({});\n", "  }\n  fn g() {\n    h(1);\n  }\n}\n"),
        ("cpp", "struct C {\n  void f() {\n", "    g({});\n", "  }\n  int g() {\n    return 1;\n  }\n};\n"),
    ],
)
def test_in_each_language_a_value_over_lines_that_dedenting_would_change_is_left_out(
    language, head, value, tail
):
    over_lines = {
        "javascript": ["`a\n    b`", "'a\\\n    b'", "`${{a}}\n    b`"],
        "java": ['"""\n    a\n    """'],
        "rust": ['"a\n    b"', 'r#"a\n    b"#'],
        "cpp": ['R"(a\n    b)"', '"a\\\n    b"'],
    }
    largest = 40
    count = len(texts(head + value.format("1") + tail, language=language, largest=largest))
    assert count == 2
    for literal in over_lines[language]:
        kept = texts(head + value.format(literal) + tail, language=language, largest=largest)
        assert len(kept) == 1
        assert "g" in kept[0].partition("\n")[0]


def test_a_macro_over_lines_is_a_value_over_lines():
    function = "#if A\n  int f(void) {\n{}    return 1;\n  }\n#endif\n"
    assert len(texts(function.replace("{}", "  #define X 1\n"), language="c")) == 1
    assert texts(function.replace("{}", '  #define X "a\\\n    b"\n'), language="c") == []


def test_at_the_margin_values_over_lines_are_kept():
    source = "function f () {\n  return `a\n  b`\n}\n"
    assert texts(source, language="javascript") == [source]
    source = "func f() string {\n\treturn `a\n\tb`\n}\n"
    assert texts(source, language="go") == [source]


def test_a_language_that_is_not_known_or_has_no_grammar_is_told(monkeypatch):
    with pytest.raises(KeyError):
        harvest(b"", language="cobol", smallest=1, largest=2)
    monkeypatch.setitem(sys.modules, "tree_sitter_rust", None)
    probes.grammar.cache_clear()
    with pytest.raises(probes.MissingGrammar, match=r"tree-sitter-rust.*memaudit\[languages\]"):
        harvest(b"", language="rust", smallest=1, largest=2)


@given(
    st.sampled_from(sorted(SAMPLES)),
    st.integers(0, 1200),
    st.integers(0, 40),
    st.sampled_from(["", "{", "}", '"', "`", "/*", "//", "\n", "#", "("]),
    st.integers(20, 300),
)
def test_in_no_language_a_damaged_text_breaks_it(language, at, length, inserted, largest):
    source = SAMPLES[language]
    at = min(at, len(source))
    assert cut(source[:at] + inserted + source[at + length :], largest=largest, language=language) is not None


@given(st.text(st.sampled_from("def clasif:()\n\t\f\r#'\"\\@é\0 x"), max_size=80), st.integers(1, 10))
def test_no_text_breaks_it(source, smallest):
    assert texts(source + "\ndef f(): pass", smallest=smallest) is not None


@given(
    st.lists(st.sampled_from(["def f():", "class C:", "  ", "\n", "pass", "if x:", "(", "'''", "\\\n", "@"]))
)
def test_no_sequence_of_tokens_breaks_it(tokens):
    assert ranges("".join(tokens)) == ranges("".join(tokens) + "\n")
