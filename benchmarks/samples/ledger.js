// Accounts with postings that have to balance; money is kept in whole cents.
import { createHash } from "node:crypto";

export const CURRENCIES = Object.freeze({ EUR: 2, JPY: 0, KWD: 3 });
const PATTERN = /^(?<sign>-?)(?<whole>\d{1,12})(?:\.(?<part>\d+))?$/u;

/** Reads an amount such as "12.50" and returns it in the smallest unit. */
export function parseAmount(text, currency = "EUR") {
  const digits = CURRENCIES[currency];
  const found = PATTERN.exec(text.trim());
  if (digits === undefined || found === null) {
    throw new RangeError(`expected an amount in ${currency}, got "${text}"`);
  }
  const { sign, whole, part = "" } = found.groups;
  if (part.length > digits) {
    throw new RangeError(`expected at most ${digits} decimals, got ${part.length}`);
  }
  const units = BigInt(whole + part.padEnd(digits, "0"));
  return sign === "-" ? -units : units;
}

export class Ledger {
  #postings = [];
  #listeners = new Set();

  constructor(name, { strict = true, clock = () => Date.now() } = {}) {
    this.name = name;
    this.strict = strict;
    this.clock = clock;
  }

  post(lines, note = null) {
    const total = lines.reduce((sum, line) => sum + line.amount, 0n);
    if (this.strict && total !== 0n) {
      throw new Error(`the lines of "${note ?? "posting"}" are off by ${total}`);
    }
    const before = this.#postings.at(-1)?.seal ?? "0".repeat(64);
    const body = JSON.stringify(lines, (_key, value) => (typeof value === "bigint" ? `${value}` : value));
    const seal = createHash("sha256").update(before + body).digest("hex");
    const posting = { lines, note, seal, at: this.clock() };
    this.#postings.push(posting);
    for (const listener of this.#listeners) listener(posting);
    return seal;
  }

  *balances() {
    const sums = new Map();
    for (const { lines } of this.#postings) {
      for (const { account, amount } of lines) {
        sums.set(account, (sums.get(account) ?? 0n) + amount);
      }
    }
    for (const [account, amount] of [...sums].sort(([a], [b]) => (a < b ? -1 : 1))) {
      if (amount !== 0n || !this.strict) yield { account, amount };
    }
  }

  subscribe(listener) {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  async export(write) {
    let row = 0;
    for (const posting of this.#postings) {
      await write(`${row++};${posting.seal.slice(0, 8)};${posting.note ?? ""}\n`);
    }
    return row;
  }
}
