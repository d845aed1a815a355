package cluster

import (
	"bytes"
	"context"
	"log"
	"log/slog"
	"time"

	"github.com/hashicorp/go-hclog"
)

// bridge gives a library of the hclog school a logger that writes to ours. What
// such libraries tell below a warning is only of use to who debugs them.
func bridge(logger *slog.Logger, component string) hclog.Logger {
	return hclog.New(&hclog.LoggerOptions{
		Name:        component,
		Level:       hclog.Warn,
		Output:      &lineWriter{logger: logger.With("component", component)},
		DisableTime: true,
	})
}

// bridgeStandard gives memberlist a logger that writes to ours. Any datagram that
// it cannot decrypt makes it log a line, so these are throttled.
func bridgeStandard(logger *slog.Logger, component string) *log.Logger {
	return log.New(&lineWriter{logger: logger.With("component", component), lines: &throttle{}}, "", 0)
}

// lineWriter turns lines such as "[WARN]  raft: heartbeat failed" into records.
type lineWriter struct {
	logger *slog.Logger
	lines  *throttle // of warnings; nil lets all through
}

// expectedWarning is what a follower's Raft says when a nudge overtakes the entry
// it is about, which under load happens all the time and does no harm.
var expectedWarning = []byte("failed to get previous log")

func (w *lineWriter) Write(line []byte) (int, error) {
	text := bytes.TrimSpace(line)
	level := slog.LevelDebug
	for _, mark := range []struct {
		text  string
		level slog.Level
	}{
		{"[WARN]", slog.LevelWarn},
		{"[ERR]", slog.LevelWarn},
		{"[ERROR]", slog.LevelWarn},
		{"[INFO]", slog.LevelDebug},
		{"[DEBUG]", slog.LevelDebug},
		{"[TRACE]", slog.LevelDebug},
	} {
		if rest, ok := bytes.CutPrefix(text, []byte(mark.text)); ok {
			text, level = bytes.TrimSpace(rest), mark.level
			break
		}
	}
	if bytes.Contains(text, expectedWarning) {
		level = slog.LevelDebug
	}
	var attributes []any
	if w.lines != nil && level >= slog.LevelWarn {
		muted, ok := w.lines.pass(kindOfLine(text), time.Now())
		if !ok {
			return len(line), nil
		}
		if muted > 0 {
			attributes = append(attributes, "muted", muted)
		}
	}
	w.logger.Log(context.Background(), level, string(text), attributes...)
	return len(line), nil
}

// kindOfLine is what a line says before it comes to the case: up to the second
// colon.
func kindOfLine(text []byte) string {
	parts := bytes.SplitN(text, []byte(": "), 3)
	return string(bytes.Join(parts[:min(len(parts), 2)], []byte(": ")))
}
