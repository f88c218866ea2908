"""An invented repository of any size, so that a quiz has something to ask that no model has read."""

import random

_SYLLABLES = [consonant + vowel for consonant in "bdfghjklmnprstvwxz" for vowel in "aeiou"]


def repository(seed: int = 0, files: int = 24) -> dict[str, str]:
    """Path -> text. Files import earlier ones, classes inherit along a chain; names are drawn and mean nothing."""
    rng = random.Random(f"invented {seed}")
    used: set[str] = set()

    def word() -> str:
        while (drawn := "".join(rng.choice(_SYLLABLES) for _ in range(4))) in used:
            pass
        used.add(drawn)
        return drawn

    def doc() -> str:
        return " ".join(word() for _ in range(3)).capitalize() + "."

    out: dict[str, str] = {}
    functions: list[tuple[str, str]] = []
    classes: list[tuple[str, str]] = []
    for number in range(files):
        module = word()
        before = [m.removesuffix(".py") for m in out]
        lines = [f'"""{doc()}"""', ""]
        taken = [before[-1]] if before else []
        usable = [(m, n) for m, n in functions if m in taken]
        base = next(((m, n) for m, n in reversed(classes) if m in taken), None)
        wanted = [n for _, n in usable] + ([base[1]] if base and number % 4 else [])
        if wanted:
            lines += [f"from {taken[0]} import {', '.join(wanted)}", ""]
        lines += [f"{word().upper()} = {rng.randrange(10**4, 10**6)}" for _ in range(4)]
        own: list[str] = [n for _, n in usable]
        made: list[str] = []
        for _ in range(4):
            name, parameters = word(), [word() for _ in range(2)]
            lines += ["", "", f"def {name}({', '.join(parameters)}):", f'    """{doc()}"""']
            calls = rng.sample(own, min(2, len(own)))
            lines += [f"    {c}({', '.join(parameters)})" for c in calls]
            lines.append(f"    return {parameters[0]}")
            own.append(name)
            made.append(name)
        name = word().capitalize()
        above = f"({base[1]})" if base and number % 4 else ""
        lines += ["", "", f"class {name}{above}:", f'    """{doc()}"""']
        for _ in range(2):
            method, parameter = word(), word()
            lines += ["", f"    def {method}(self, {parameter}):", f'        """{doc()}"""']
            lines.append(f"        return {rng.choice(own)}({parameter}, {parameter})")
        functions += [(module, n) for n in made]
        classes.append((module, name))
        out[f"{module}.py"] = "\n".join(lines) + "\n"
    return out
