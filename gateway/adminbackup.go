package gateway

import (
	"io"
	"net/http"
	"strconv"
	"time"
)

// downloadStall is how long a client may take nothing of a download.
const downloadStall = 30 * time.Second

// download is an answer of the admin API that is not JSON. Whoever sends it closes
// it.
type download struct {
	body io.ReadCloser
	size int64
}

// backup answers with the state of the cluster.
func (s *Server) backup(r *http.Request) (int, any, error) {
	// Whoever has it can read all messages, so it is no mere look.
	if err := s.cfg.Broker.Note(r.Context(), actorOf(r), "backup.read", s.cfg.Broker.NodeName()); err != nil {
		return 0, nil, err
	}
	body, size, err := s.cfg.Broker.Backup(r.Context())
	if err != nil {
		return 0, nil, err
	}
	return http.StatusOK, &download{body, size}, nil
}

// send streams a download. A client whose download was cut short finds less than was
// announced.
func (s *Server) send(w http.ResponseWriter, status int, d *download) {
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Content-Length", strconv.FormatInt(d.size, 10))
	w.WriteHeader(status)
	_, err := io.Copy(&patientWriter{w, http.NewResponseController(w)}, d.body)
	if closing := d.body.Close(); err != nil || closing != nil {
		s.cfg.Logger.Warn("a download was cut short", "err", err, "closing", closing)
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
