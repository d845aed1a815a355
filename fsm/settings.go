package fsm

import "encoding/binary"

// MinMaxBytes is the smallest Settings.MaxBytes other than 0: room for one message of the
// largest size.
const MinMaxBytes = 1 << 20

// Settings hold for the whole cluster.
type Settings struct {
	// MaxBytes caps the payload bytes retained in all channels together. Above it the
	// oldest messages of the cluster expire first, whatever their rules. Messages that a
	// rule expired count until they would have been the oldest. 0 means no cap.
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
