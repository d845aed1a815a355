package fsm

// Observer is notified of every committed change in commit order. The goroutine that applies
// entries calls all methods, so they must not block or call back into State.
type Observer interface {
	// Appended reports the messages of one commit batch, one element per
	// channel. Neither the slice nor the messages may be changed.
	Appended(batch []Appended)
	// KeyEnded reports a key that was revoked, expired or lost its project.
	KeyEnded(key Key)
	// AdminTokenEnded reports an admin token or console session that was revoked
	// or expired, or whose place another session took.
	AdminTokenEnded(id string)
	// ProjectChanged reports that origins or rules of a project are new, or
	// that the project is gone.
	ProjectChanged(id string)
	// Reset reports that the whole state was replaced by a snapshot: heads may
	// have moved without Appended, keys and tokens may have ended unreported.
	Reset()
}
