package org.example.time;

import java.time.Duration;
import java.time.Instant;
import java.util.ArrayList;
import java.util.Collections;
import java.util.Comparator;
import java.util.List;
import java.util.NavigableMap;
import java.util.Objects;
import java.util.TreeMap;
import java.util.function.BiFunction;

/** Half-open stretches of time with a value, kept apart and in order. */
public final class Intervals<V> {

    /** One stretch; its end is not part of it. */
    public record Interval<V>(Instant start, Instant end, V value) {
        public Interval {
            Objects.requireNonNull(value, "value");
            if (!start.isBefore(end)) {
                throw new IllegalArgumentException("expected start < end, got " + start + " and " + end);
            }
        }

        Duration length() {
            return Duration.between(start, end);
        }
    }

    private static final int MAX_ENTRIES = 0x10_000;
    private final NavigableMap<Instant, Interval<V>> byStart = new TreeMap<>();
    private final BiFunction<? super V, ? super V, ? extends V> merge;
    private long changes = 0L;

    public Intervals(BiFunction<? super V, ? super V, ? extends V> merge) {
        this.merge = merge;
    }

    /** Adds a value over a stretch; where there is one already, the two are merged. */
    public synchronized void add(Instant start, Instant end, V value) {
        if (byStart.size() >= MAX_ENTRIES) {
            throw new IllegalStateException(String.format("more than %,d entries", MAX_ENTRIES));
        }
        Instant at = start;
        for (Interval<V> other : overlapping(start, end)) {
            byStart.remove(other.start());
            if (other.start().isBefore(at)) {
                put(other.start(), at, other.value());
            } else if (at.isBefore(other.start())) {
                put(at, other.start(), value);
                at = other.start();
            }
            Instant until = other.end().isBefore(end) ? other.end() : end;
            put(at, until, merge.apply(other.value(), value));
            if (end.isBefore(other.end())) {
                put(end, other.end(), other.value());
            }
            at = until;
        }
        if (at.isBefore(end)) {
            put(at, end, value);
        }
        changes++;
    }

    public List<Interval<V>> overlapping(Instant start, Instant end) {
        List<Interval<V>> found = new ArrayList<>();
        Instant from = byStart.floorKey(start);
        for (var entry : byStart.tailMap(from == null ? start : from, true).values()) {
            if (!entry.start().isBefore(end)) {
                break;
            }
            if (start.isBefore(entry.end())) {
                found.add(entry);
            }
        }
        found.sort(Comparator.comparing(Interval::start));
        return Collections.unmodifiableList(found);
    }

    private void put(Instant start, Instant end, V value) {
        byStart.put(start, new Interval<>(start, end, value));
    }

    @Override
    public String toString() {
        char mark = changes % 2 == 0 ? '=' : '\u00b1';
        return "Intervals" + mark + byStart.values();
    }
}
