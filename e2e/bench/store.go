package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// store is a directory of records, one file each, so that a run can go on where another has ended.
type store struct{ dir string }

// read returns the record of a name. That there is none is no error.
func (s store) read(name string) (r record, found bool, err error) {
	content, err := os.ReadFile(s.path(name))
	if errors.Is(err, fs.ErrNotExist) {
		return r, false, nil
	}
	if err != nil {
		return r, false, err
	}
	if err := json.Unmarshal(content, &r); err != nil {
		return r, false, fmt.Errorf("read %s: %w; remove it to measure that again", s.path(name), err)
	}
	return r, true, nil
}

// write keeps a record, whole or not at all.
func (s store) write(r record) error {
	content, err := json.MarshalIndent(r, "", " ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(s.dir, 0o755); err != nil {
		return err
	}
	part := s.path(r.name()) + ".part"
	if err := os.WriteFile(part, content, 0o644); err != nil {
		return err
	}
	return os.Rename(part, s.path(r.name()))
}

// all returns every record, ordered by name.
func (s store) all() ([]record, error) {
	files, err := filepath.Glob(filepath.Join(s.dir, "*.json"))
	if err != nil {
		return nil, err
	}
	var records []record
	for _, file := range files {
		name := filepath.Base(file)
		r, _, err := s.read(name[:len(name)-len(".json")])
		if err != nil {
			return nil, err
		}
		records = append(records, r)
	}
	return records, nil
}

func (s store) path(name string) string { return filepath.Join(s.dir, name+".json") }
