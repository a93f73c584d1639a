package webhook

import (
	"context"
	"sync"
	"time"

	"go.uber.org/zap"
)

const (
	// maxWaiting bounds the messages in a queue, each of which has at most
	// maxMessage bytes.
	maxWaiting = 1000
	maxMessage = 64 << 10
	// atOnce is how many are being sent, so that a slow answer holds up few.
	atOnce = 4
)

// pauses are between tries: eight of them in an hour.
var pauses = []time.Duration{time.Second, 10 * time.Second, time.Minute, 4 * time.Minute, 10 * time.Minute, 20 * time.Minute, 24 * time.Minute}

// message is an event on its way.
type message struct {
	id, name string
	body     []byte
	tries    int
}

// queue sends messages to one receiver until it takes them. It outlives
// configurations.
type queue struct {
	send   func(context.Context, message) error
	logger *zap.Logger

	ctx  context.Context
	stop context.CancelFunc
	// due are to be sent now.
	due    chan message
	sender sync.WaitGroup

	mu      sync.Mutex
	waiting int
	full    bool // and its owner has been told
}

func newQueue(send func(context.Context, message) error, logger *zap.Logger) *queue {
	q := &queue{send: send, logger: logger, due: make(chan message, maxWaiting)}
	q.ctx, q.stop = context.WithCancel(context.Background())
	for range atOnce {
		q.sender.Go(q.work)
	}
	return q
}

// add takes a message, unless too many are waiting: then it is lost, of which
// the log tells.
func (q *queue) add(m message) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.waiting == maxWaiting {
		if !q.full {
			q.full = true
			q.logger.Error("the webhook's receiver has taken nothing for so long that events are lost", zap.Int("waiting", maxWaiting))
		}
		return
	}
	q.waiting++
	q.due <- m // has room for all that are waiting
}

func (q *queue) work() {
	for {
		select {
		case <-q.ctx.Done():
			return
		case m := <-q.due:
			q.try(m)
		}
	}
}

func (q *queue) try(m message) {
	err := q.send(q.ctx, m)
	m.tries++
	switch {
	case err == nil:
		q.done()
	case q.ctx.Err() != nil:
		// It is one of those that Destruct tells of.
	case m.tries > len(pauses):
		q.logger.Error("the webhook's receiver hasn't taken an event in an hour: it is lost", zap.String("event", m.name), zap.String("id", m.id), zap.Error(err))
		q.done()
	default:
		q.logger.Warn("the webhook's receiver hasn't taken an event: it will be sent again", zap.String("event", m.name), zap.String("id", m.id), zap.Duration("in", pauses[m.tries-1]), zap.Error(err))
		time.AfterFunc(pauses[m.tries-1], func() {
			select {
			case q.due <- m:
			case <-q.ctx.Done():
			}
		})
	}
}

func (q *queue) done() {
	q.mu.Lock()
	q.waiting--
	q.full = false
	q.mu.Unlock()
}

// Destruct implements caddy.Destructor.
func (q *queue) Destruct() error {
	q.stop()
	q.sender.Wait()
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.waiting > 0 {
		q.logger.Warn("events are lost that the webhook's receiver hasn't taken yet", zap.Int("events", q.waiting))
	}
	return nil
}
