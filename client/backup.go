package client

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"time"
)

// backupStall bounds how long the stream of a backup may stand still.
const backupStall = time.Minute

// Backup writes a backup of the whole cluster, as of the time of the call or later,
// to w. What was written before an error is of no use.
func (a *Admin) Backup(ctx context.Context, w io.Writer) error {
	target, err := apiURL(a.BaseURL, call{path: "/admin/v1/backup"})
	if err != nil {
		return fmt.Errorf("backup: %w", err)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stalled := time.AfterFunc(backupStall, func() { cancel(fmt.Errorf("nothing came for %v", backupStall)) })
	defer stalled.Stop()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, target, nil)
	if err != nil {
		return fmt.Errorf("backup: make request: %w", err)
	}
	request.Header = a.header()
	response, err := withoutRedirects(a.HTTP).Do(request)
	if err != nil {
		return fmt.Errorf("backup: %w", causeOf(ctx, err))
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		answer, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
		if err != nil {
			return fmt.Errorf("backup: read answer: %w", err)
		}
		return fmt.Errorf("backup: %w", refusalOf(response, answer))
	}
	body := progressReader{response.Body, func() { stalled.Reset(backupStall) }}
	if _, err := io.Copy(w, body); err != nil {
		return fmt.Errorf("backup: %w", causeOf(ctx, err))
	}
	return nil
}

// causeOf prefers why the context ended to what came of it.
func causeOf(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return err
}

// progressReader tells of every read that brought something.
type progressReader struct {
	io.Reader
	progress func()
}

func (r progressReader) Read(b []byte) (int, error) {
	n, err := r.Reader.Read(b)
	if n > 0 {
		r.progress()
	}
	return n, err
}
