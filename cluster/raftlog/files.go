package raftlog

import (
	"errors"
	"fmt"

	"github.com/hashicorp/raft-wal/types"
)

// reportingFiles are the log's files. They report every failed change at once. raft-wal
// begins new segments and deletes old ones in the background, and only logs a failure
// there. The next append would then fail for another reason.
type reportingFiles struct {
	types.VFS
	failed func(error) error               // returns what it is given
	watch  func(what string) (done func()) // of each call that may hang
	made   func(id uint64) error           // is told of a new segment
}

func (r reportingFiles) Create(dir, name string, size uint64) (types.WritableFile, error) {
	done := r.watch("make log segment " + name)
	f, err := r.VFS.Create(dir, name, size)
	done()
	if err != nil {
		return nil, r.failed(fmt.Errorf("make log segment: %w", err))
	}
	file := reportingFile{f, name, r.failed, r.watch}
	// A file that is noted must be there after a power cut.
	err = file.Sync()
	if err == nil {
		var base, id uint64
		if _, err = fmt.Sscanf(name, segmentName, &base, &id); err == nil {
			err = r.made(id)
		}
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return file, nil
}

// OpenWriter reports nothing. raft-wal also asks for files that are not there yet, and hands
// any other error on.
func (r reportingFiles) OpenWriter(dir, name string) (types.WritableFile, error) {
	f, err := r.VFS.OpenWriter(dir, name)
	if err != nil {
		return nil, err
	}
	return reportingFile{f, name, r.failed, r.watch}, nil
}

func (r reportingFiles) Delete(dir, name string) error {
	defer r.watch("delete log segment " + name)()
	if err := r.VFS.Delete(dir, name); err != nil {
		return r.failed(fmt.Errorf("delete log segment: %w", err))
	}
	return nil
}

type reportingFile struct {
	types.WritableFile
	name   string
	failed func(error) error
	watch  func(what string) (done func())
}

func (f reportingFile) WriteAt(b []byte, at int64) (int, error) {
	defer f.watch("write log segment " + f.name)()
	n, err := f.WritableFile.WriteAt(b, at)
	if err != nil {
		return n, f.failed(fmt.Errorf("write log segment %s: %w", f.name, err))
	}
	return n, nil
}

func (f reportingFile) Sync() error {
	defer f.watch("sync log segment " + f.name)()
	if err := f.WritableFile.Sync(); err != nil {
		return f.failed(fmt.Errorf("sync log segment %s: %w", f.name, err))
	}
	return nil
}
