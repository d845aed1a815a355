package durable

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"regexp"
	"strconv"
)

// A JSON file that a start relies on says in its first lines what it is:
//
//	{
//	  "format": 2,
//	  "checksum": "0badcafe",
//	  …
//
// The checksum is the CRC-32C of the file with eight zeros in that place. Format 1 had
// neither line.
const (
	SealedFormat = 2
	checksumLen  = 8
)

// ErrOtherVersion says that a data folder was written by a version of aptlyd whose
// format this one does not read.
var ErrOtherVersion = errors.New("it was written by another version of aptlyd")

// ErrDamaged says that a file is not what was written.
var ErrDamaged = errors.New("it is damaged")

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

var sealedHead = regexp.MustCompile(`^\{\n  "format": ([0-9]+),\n  "checksum": "([0-9a-f]{8})",\n`)

// SealJSON encodes a struct as such a file.
func SealJSON(v any) ([]byte, error) {
	body, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return nil, err
	}
	file := fmt.Appendf(nil, "{\n  \"format\": %d,\n  \"checksum\": \"00000000\",\n%s\n", SealedFormat, body[2:])
	at := sealedHead.FindSubmatchIndex(file)[4]
	copy(file[at:], sealedSum(file))
	return file, nil
}

// sealedSum is the checksum of a file with zeros in its place.
func sealedSum(file []byte) []byte {
	sum := binary.BigEndian.AppendUint32(nil, crc32.Checksum(file, castagnoli))
	return fmt.Appendf(nil, "%x", sum)
}

// UnsealJSON decodes such a file, or one of format 1. Of that it can only say whether
// its form is right. The error is ErrDamaged or ErrOtherVersion.
func UnsealJSON(file []byte, v any) (format int, err error) {
	head := sealedHead.FindSubmatchIndex(file)
	if head == nil {
		if err := decodeStrictly(file, v); err != nil {
			return 0, fmt.Errorf("%w: %w", ErrDamaged, err)
		}
		return 1, nil
	}
	zeroed := bytes.Clone(file)
	copy(zeroed[head[4]:], bytes.Repeat([]byte{'0'}, checksumLen))
	if !bytes.Equal(sealedSum(zeroed), file[head[4]:head[5]]) {
		return 0, fmt.Errorf("%w (checksum mismatch)", ErrDamaged)
	}
	format, err = strconv.Atoi(string(file[head[2]:head[3]]))
	if err != nil || format != SealedFormat {
		return 0, fmt.Errorf("%w: its format is %s, this one reads up to %d", ErrOtherVersion, file[head[2]:head[3]],
			SealedFormat)
	}
	if err := decodeStrictly(append([]byte("{\n"), file[head[1]:]...), v); err != nil {
		return 0, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return format, nil
}

// decodeStrictly refuses names that it does not know and anything behind the value.
func decodeStrictly(text []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return err
	}
	if len(bytes.TrimSpace(text[d.InputOffset():])) > 0 {
		return errors.New("more follows the value")
	}
	return nil
}
