// Jobs that depend on one another, run as soon as what they wait for is done.
export type Outcome<T> = { readonly ok: true; readonly value: T } | { readonly ok: false; readonly error: Error };

export interface Step<T = unknown> {
  readonly name: string;
  readonly after?: readonly string[];
  run(inputs: ReadonlyMap<string, unknown>, signal: AbortSignal): Promise<T>;
  retries?: number;
}

const enum State {
  Waiting = 0,
  Running = 1 << 0,
  Done = 1 << 1,
  Failed = 1 << 2,
}

export class CycleError extends Error {
  constructor(public readonly path: string[]) {
    super(`expected steps without a cycle, got ${path.join(" -> ")}`);
  }
}

function* visit(steps: Map<string, Step>, name: string, path: string[] = []): Generator<string> {
  if (path.includes(name)) throw new CycleError([...path.slice(path.indexOf(name)), name]);
  const step = steps.get(name);
  if (!step) throw new Error(`expected a step named '${name}', got ${[...steps.keys()].join(", ") || "none"}`);
  for (const before of step.after ?? []) yield* visit(steps, before, [...path, name]);
  yield name;
}

export class Schedule<K extends string = string> {
  private readonly steps = new Map<string, Step>();
  private states: Record<string, State> = {};

  add<T>(step: Step<T> & { name: K }): this {
    if (this.steps.has(step.name)) throw new Error(`the step '${step.name}' is there already`);
    this.steps.set(step.name, step as Step);
    this.states[step.name] = State.Waiting;
    return this;
  }

  order(): string[] {
    const seen = new Set<string>();
    for (const name of this.steps.keys()) for (const found of visit(this.steps, name)) seen.add(found);
    return [...seen];
  }

  async run({ limit = 4, signal = new AbortController().signal } = {}): Promise<Map<string, Outcome<unknown>>> {
    const outcomes = new Map<string, Outcome<unknown>>();
    const values = new Map<string, unknown>();
    const running = new Set<Promise<void>>();
    for (const name of this.order()) {
      while (running.size >= limit) await Promise.race(running);
      const step = this.steps.get(name)!;
      const task = this.attempt(step, values, signal).then((outcome) => {
        outcomes.set(name, outcome);
        if (outcome.ok) values.set(name, outcome.value);
        this.states[name] = outcome.ok ? State.Done : State.Failed;
        running.delete(task);
      });
      running.add(task);
    }
    await Promise.all(running);
    return outcomes;
  }

  private async attempt(step: Step, inputs: Map<string, unknown>, signal: AbortSignal): Promise<Outcome<unknown>> {
    for (let left = step.retries ?? 0; ; left--) {
      try {
        return { ok: true, value: await step.run(inputs, signal) };
      } catch (error: unknown) {
        if (left <= 0 || signal.aborted) return { ok: false, error: error as Error };
      }
    }
  }
}
