package fsm

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/aptlyd/aptlyd/internal/wire"
)

// A result answers a command:
//
//	byte code | uvarint length and text of the reason          a refusal
//	byte code | byte duplicate | uvarint offset | varint stamp  a Publish
//	byte code                                                   any other

// Receipt answers a Publish.
type Receipt struct {
	Offset    uint64
	Timestamp int64 // Unix ms
	Duplicate bool  // the id is known; Offset is that of the first publish
}

func appendReceipt(dst []byte, r Receipt) []byte {
	dst = wire.AppendBool(append(dst, codeOK), r.Duplicate)
	dst = binary.AppendUvarint(dst, r.Offset)
	return binary.AppendVarint(dst, r.Timestamp)
}

func appendRefusal(dst []byte, r *refusal) []byte {
	return wire.AppendBytes(append(dst, r.code), r.reason)
}

// DecodeReceipt decodes the result of a Publish. A refusal comes back as an
// error that wraps ErrNotFound, ErrConflict, ErrRateLimited or ErrInvalid.
func DecodeReceipt(result []byte) (Receipt, error) {
	d := decoder{wire.Reader{Rest: result}}
	if err := d.refusal(); err != nil {
		return Receipt{}, err
	}
	r := Receipt{Duplicate: d.Bool(), Offset: d.Uvarint(), Timestamp: d.Varint()}
	if err := d.Finish(); err != nil {
		return Receipt{}, fmt.Errorf("decode receipt: %w", err)
	}
	return r, nil
}

// DecodeResult decodes the result of any command but Publish. Its errors are
// those of DecodeReceipt.
func DecodeResult(result []byte) error {
	d := decoder{wire.Reader{Rest: result}}
	if err := d.refusal(); err != nil {
		return err
	}
	if err := d.Finish(); err != nil {
		return fmt.Errorf("decode result: %w", err)
	}
	return nil
}

// refusal reads the code and, unless it is codeOK, the reason.
func (d *decoder) refusal() error {
	code := d.Byte()
	if d.Err == nil && code == codeOK {
		return nil
	}
	if int(code) >= len(sentinels) {
		d.Fail(errors.New("unknown code"))
	}
	reason := d.string()
	if err := d.Finish(); err != nil {
		return fmt.Errorf("decode result: %w", err)
	}
	return &refusal{code, reason}
}
