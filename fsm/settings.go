package fsm

import "encoding/binary"

// MinMaxBytes is the least that Settings.MaxBytes may be unless it is 0, in bytes:
// enough for one message of the largest size.
const MinMaxBytes = 1 << 20

// Settings hold for the whole cluster.
type Settings struct {
	// MaxBytes caps the payload bytes retained in all channels of all projects
	// together. Beyond, the oldest messages of the cluster go first, whatever their
	// rules. What a rule has let go before still counts until it would have been
	// the oldest. 0 means no cap.
	MaxBytes int64
}

func (s Settings) append(dst []byte) []byte { return binary.AppendVarint(dst, s.MaxBytes) }

func (d *decoder) settings() Settings { return Settings{d.Varint()} }

// Settings returns the cluster's settings.
func (s *State) Settings() Settings {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.settings
}

func (a *application) updateSettings(c *UpdateSettings) *refusal {
	if c.MaxBytes == nil {
		return nil
	}
	if n := *c.MaxBytes; n < 0 || n > 0 && n < MinMaxBytes {
		return refuse(codeInvalid, "maxBytes %d is neither 0 nor at least %d", n, MinMaxBytes)
	}
	before := a.settings
	a.settings.MaxBytes = *c.MaxBytes
	a.gathering.set(bucketMeta, string(metaSettings), a.settings.append(nil))
	a.record(c.By, "settings.update", a.cluster.id, showSettings(before), showSettings(a.settings))
	return nil
}
