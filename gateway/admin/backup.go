package admin

import (
	"io"
	"log/slog"
	"net/http"
	"strconv"
	"time"
)

// downloadStall bounds how long a download may stand still.
const downloadStall = 30 * time.Second

// download is an answer that is not JSON.
type download struct {
	body   io.ReadCloser
	size   int64
	logger *slog.Logger
}

// backup answers with the state of the cluster.
func (h *Handler) backup(r *http.Request) (int, any, error) {
	// A backup has all messages, so reading it is noted like a change.
	if err := h.cfg.Broker.Note(r.Context(), actorOf(r), "backup.read", h.cfg.Broker.NodeName()); err != nil {
		return 0, nil, err
	}
	body, size, err := h.cfg.Broker.Backup(r.Context())
	if err != nil {
		return 0, nil, err
	}
	return http.StatusOK, &download{body, size, h.cfg.Logger}, nil
}

// Send implements Answer. A client whose download was cut short finds less than was
// announced.
func (d *download) Send(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Content-Length", strconv.FormatInt(d.size, 10))
	_, err := io.Copy(&patientWriter{w, http.NewResponseController(w)}, d.body)
	if closing := d.body.Close(); err != nil || closing != nil {
		d.logger.Warn("a download was cut short", "err", err, "closing", closing)
	}
}

// patientWriter gives every write its own time.
type patientWriter struct {
	w          io.Writer
	controller *http.ResponseController
}

func (p *patientWriter) Write(b []byte) (int, error) {
	if err := p.controller.SetWriteDeadline(time.Now().Add(downloadStall)); err != nil {
		return 0, err
	}
	return p.w.Write(b)
}
