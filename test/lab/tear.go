package lab

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"

	"golang.org/x/sys/unix"
)

// tear is what a torn disk has instead of what was written last: sectors as they were, by
// where they are.
type tear map[int64][]byte

const (
	// sectorBytes is what a disk writes as a whole.
	sectorBytes = 512
	// superBlock is where the file system's own block ends, which is written as a whole.
	superBlock = 4096
)

// chooseLost compares a disk at two times between which nothing was made durable, and
// chooses a random part of the sectors that were written in between.
func chooseLost(before, after string, random *rand.Rand) (tear, error) {
	old, err := os.Open(before)
	if err != nil {
		return nil, err
	}
	defer old.Close()
	now, err := os.Open(after)
	if err != nil {
		return nil, err
	}
	defer now.Close()
	lost := make(tear)
	likely := []float64{0.1, 0.5, 0.9}[random.IntN(3)]
	was, is := make([]byte, 1<<20), make([]byte, 1<<20)
	for at := int64(superBlock); ; at += int64(len(is)) {
		// Where something was written there is no hole.
		if at, err = now.Seek(at, unix.SEEK_DATA); errors.Is(err, unix.ENXIO) {
			return lost, nil
		}
		if err != nil {
			return nil, fmt.Errorf("look for data: %w", err)
		}
		at -= at % sectorBytes
		n, err := now.ReadAt(is, at)
		if err != nil && !errors.Is(err, io.EOF) {
			return nil, err
		}
		if _, err := old.ReadAt(was[:n], at); err != nil {
			return nil, err
		}
		for from := 0; from+sectorBytes <= n; from += sectorBytes {
			sector := was[from : from+sectorBytes]
			if !bytes.Equal(sector, is[from:from+sectorBytes]) && random.Float64() < likely {
				lost[at+int64(from)] = bytes.Clone(sector)
			}
		}
	}
}

// apply makes the disk what it is after the power cut.
func (t tear) apply(image string) error {
	if len(t) == 0 {
		return nil
	}
	f, err := os.OpenFile(image, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	for at, sector := range t {
		if _, err := f.WriteAt(sector, at); err != nil {
			return err
		}
	}
	return f.Close()
}
