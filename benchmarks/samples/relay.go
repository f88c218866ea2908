// Package relay passes messages on to subscribers that may be slow.
package relay

import (
	"context"
	"errors"
	"fmt"
	"sort"
	"sync"
	"time"
)

// ErrClosed is returned by everything that comes after Close.
var ErrClosed = errors.New("relay: closed")

const (
	defaultBuffer = 1 << 6
	maxLag        = 250 * time.Millisecond
	banner        = `relay "v1"
  %d subscribers
`
)

type Message[T any] struct {
	Topic string    `json:"topic"`
	Body  T         `json:"body,omitempty"`
	At    time.Time `json:"at"`
}

type subscriber[T any] struct {
	name    string
	queue   chan Message[T]
	dropped uint64
}

// Relay is safe for use by several goroutines.
type Relay[T any] struct {
	mu     sync.RWMutex
	subs   map[string][]*subscriber[T]
	closed bool
	now    func() time.Time
}

func New[T any]() *Relay[T] {
	return &Relay[T]{subs: make(map[string][]*subscriber[T]), now: time.Now}
}

// Subscribe calls handle for each message of a topic until the context ends.
func (r *Relay[T]) Subscribe(ctx context.Context, topic, name string, handle func(Message[T]) error) error {
	sub := &subscriber[T]{name: name, queue: make(chan Message[T], defaultBuffer)}
	r.mu.Lock()
	if r.closed {
		r.mu.Unlock()
		return ErrClosed
	}
	r.subs[topic] = append(r.subs[topic], sub)
	r.mu.Unlock()
	defer r.drop(topic, sub)

	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case message, ok := <-sub.queue:
			if !ok {
				return ErrClosed
			}
			if err := handle(message); err != nil {
				return fmt.Errorf("subscriber %q of %s: %w", name, topic, err)
			}
		}
	}
}

func (r *Relay[T]) Publish(topic string, body T) (sent int, err error) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if r.closed {
		return 0, ErrClosed
	}
	message := Message[T]{Topic: topic, Body: body, At: r.now()}
	timer := time.NewTimer(maxLag)
	defer timer.Stop()
	for _, sub := range r.subs[topic] {
		select {
		case sub.queue <- message:
			sent++
		case <-timer.C:
			sub.dropped += 1
		}
	}
	return sent, nil
}

func (r *Relay[T]) drop(topic string, gone *subscriber[T]) {
	r.mu.Lock()
	defer r.mu.Unlock()
	kept := r.subs[topic][:0]
	for _, sub := range r.subs[topic] {
		if sub != gone {
			kept = append(kept, sub)
		}
	}
	r.subs[topic] = kept
}

// Topics returns the topics that have subscribers, in order.
func (r *Relay[T]) Topics() []string {
	topics := []string{}
	for topic, subs := range r.subs {
		if len(subs) > 0 && topic != "" && topic[0] != '_' {
			topics = append(topics, topic)
		}
	}
	sort.Slice(topics, func(i, j int) bool { return topics[i] < topics[j] })
	return topics
}
