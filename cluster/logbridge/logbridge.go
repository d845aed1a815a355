// Package logbridge turns the log lines of libraries into records of slog, and bounds how
// many of them others can cause.
package logbridge

import (
	"bytes"
	"context"
	"log"
	"log/slog"
	"time"

	"github.com/hashicorp/go-hclog"
)

// Hclog gives a library of the hclog school a logger that writes to ours. Their
// lines below a warning help only to debug them, and so do the same few warnings that
// they repeat every second while a peer is away.
func Hclog(logger *slog.Logger, library string) hclog.Logger {
	return hclog.New(&hclog.LoggerOptions{
		Name:        library,
		Level:       hclog.Warn,
		Output:      &lineWriter{logger: logger.With("library", library), lines: &Throttle{}},
		DisableTime: true,
	})
}

// Standard gives memberlist a logger that writes to ours. Any datagram that
// it cannot decrypt makes it log a line, so these are throttled.
func Standard(logger *slog.Logger, library string) *log.Logger {
	return log.New(&lineWriter{logger: logger.With("library", library), lines: &Throttle{}}, "", 0)
}

// lineWriter turns lines such as "[WARN]  raft: heartbeat failed" into records.
type lineWriter struct {
	logger *slog.Logger
	lines  *Throttle // of warnings; what it holds back is told at debug level
}

// expectedWarnings happen all the time and do no harm, or are said in other words when they do.
var expectedWarnings = [...][]byte{
	[]byte("heartbeat timeout reached"),        // an election, as at every start
	[]byte("Election timeout reached"),         // one that nobody has won yet
	[]byte("since we have a leader"),           // a candidate that came too late
	[]byte("sending older logs"),               // a follower that has less of the log
	[]byte("failed to get previous log"),       // a nudge overtook the entry it is about
	[]byte("no known peers"),                   // a node without a cluster
	[]byte("use of closed network connection"), // a node that stops
	[]byte("cluster is closed"),                // the same
	[]byte("Got ping for unexpected node"),     // one that was started again is asked as it was called before
}

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
	for _, expected := range expectedWarnings {
		if bytes.Contains(text, expected) {
			level = slog.LevelDebug
		}
	}
	var attributes []any
	if level >= slog.LevelWarn {
		switch muted, ok := w.lines.Pass(kindOfLine(text), time.Now()); {
		case !ok:
			level = slog.LevelDebug
		case muted > 0:
			attributes = append(attributes, "muted", muted)
		}
	}
	w.logger.Log(context.Background(), level, string(text), attributes...)
	return len(line), nil
}

// kindOfLine returns the part of a line that does not depend on the case: up to the second
// colon.
func kindOfLine(text []byte) string {
	parts := bytes.SplitN(text, []byte(": "), 3)
	return string(bytes.Join(parts[:min(len(parts), 2)], []byte(": ")))
}
