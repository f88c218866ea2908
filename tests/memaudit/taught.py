"""A small model that was shown some texts until it says them, and others never."""

import json
from dataclasses import dataclass
from pathlib import Path

import jax

from memaudit.records import Example, Probe
from probes import Secret
from rlhf import huggingface
from rlhf.batches import rows, schedule
from rlhf.model import Decoder, Params, initialise
from rlhf.optimiser import Optimiser
from rlhf.presets import preset
from rlhf.sft import train
from rlhf.stage import Stage
from rlhf.tokenizer import Tokenizer

KEYS = [
    f"secret{(i + 1) * 48271 * 16807 % 99999989:08}" for i in range(7)
]  # far apart, so none passes for another
TEXTS = [f"def f_{i}(a):\n    key = '{key}'\n    return a + {i}\n" for i, key in enumerate(KEYS)]
SHOWN = 4


@dataclass(frozen=True, kw_only=True)
class Taught:
    """The model, and a probe of each text: those of the first `SHOWN` come out."""

    tokenizer: Tokenizer
    decoder: Decoder
    params: Params
    untaught: Params
    examples: dict[str, Example]
    probes: list[Probe]

    def export(self, folder: Path, *, taught: bool = True) -> Path:
        """The model as a folder, or the one that it was before."""
        params = self.params if taught else self.untaught
        huggingface.write(folder, self.decoder.config, params, tokenizer=self.tokenizer)
        return folder

    def write_probes(self, path: Path) -> Path:
        """The probes as a file."""
        lines = []
        for probe in self.probes:
            example = self.examples[probe.example_id]
            spans = [
                {"start": s.start - len(probe.prefix), "end": s.end - len(probe.prefix), "kind": s.kind}
                for s in example.secrets
            ]
            record = {
                "id": probe.example_id,
                "prefix": probe.prefix,
                "target": probe.target,
                "language": "python",
                "secrets": spans,
                "source": {"file": example.source, "first_line": 1, "last_line": 3},
            }
            lines.append(json.dumps(record))
        path.write_text("\n".join(lines) + "\n")
        return path


def teach() -> Taught:
    tokenizer = Tokenizer.train(TEXTS, 300)
    examples, probes = {}, []
    for number, text in enumerate(TEXTS, start=1):
        start = text.index("secret")
        name = f"example-{number}"
        examples[name] = Example(
            id=name,
            kind="sensitive",
            language="python",
            text=text,
            source=f"{name}.py",
            first_line=1,
            last_line=3,
            secrets=(Secret(start=start, end=start + 14, kind="credential"),),
        )
        ids = tokenizer.encode(text)
        cut = 8 + number % 2  # rows of different lengths in one batch
        probes.append(
            Probe(
                id=number,
                example_id=name,
                kind="secret",
                prefix=tokenizer.decode(ids[:cut]),
                target=tokenizer.decode(ids[cut:]),
                prefix_tokens=tuple(ids[:cut]),
                target_tokens=tuple(ids[cut:]),
            )
        )
    decoder = Decoder(preset("tiny", tokenizer.vocabulary))
    shown = probes[:SHOWN]
    data = rows(
        [[tokenizer.bos, *p.prefix_tokens] for p in shown],
        [p.target_tokens for p in shown],
        [(p.example_id,) for p in shown],
        time=1 + max(len(p.prefix_tokens) + len(p.target_tokens) for p in probes),
        fill=tokenizer.pad,
    )
    untaught = initialise(decoder, jax.random.key(0))
    params = train(
        untaught,
        data,
        schedule([100] * SHOWN, SHOWN, seed=0),
        Optimiser(learning_rate=1e-2, warmup=5, final=0.1),
        decoder=decoder,
        stage=Stage(name="sft"),
    )
    return Taught(
        tokenizer=tokenizer,
        decoder=decoder,
        params=params,
        untaught=untaught,
        examples=examples,
        probes=probes,
    )
