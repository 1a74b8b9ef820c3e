package manifests

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Limits on a document, far above what the API takes: aliases can make a small file huge.
const (
	maxDepth = 100
	maxNodes = 1 << 17
	maxQuote = 100 // bytes of a value that a problem quotes
)

var (
	errTooBig = errors.New("nested too deeply or too large; write it without aliases")
	errMerge  = errors.New("merge keys are not part of the API's YAML; write the fields out")
	errKey    = errors.New("a field name must be a text")
)

// position is where a value stands in the JSON form of a document, and in its file.
type position struct {
	offset int
	path   string // for example "spec.ports[0].port"
	line   int    // from 1
}

// document is one object as JSON, with the way back to the lines of its file.
type document struct {
	json      []byte     // until it is decoded
	positions []position // by offset
}

// newDocument turns a YAML node into JSON.
func newDocument(root *yaml.Node) (document, error) {
	var b builder
	if err := b.value(root, "", 0); err != nil {
		return document{positions: b.positions}, err
	}
	return document{b.buffer.Bytes(), b.positions}, nil
}

// line returns the line of a field, or of the nearest field around it that the document has.
func (d document) line(path string) int {
	for {
		for _, p := range d.positions {
			if p.path == path {
				return p.line
			}
		}
		if path == "" {
			return 0
		}
		path = path[:max(strings.LastIndexAny(path, ".["), 0)]
	}
}

// withoutIndexes takes the list indexes out of a path: "spec.ports[0].port" becomes "spec.ports.port".
func withoutIndexes(path string) string {
	parts := strings.Split(path, "[")
	for i, part := range parts[1:] {
		index, rest, closed := strings.Cut(part, "]")
		if _, err := strconv.ParseUint(index, 10, 32); !closed || err != nil {
			rest = "[" + part // of a name
		}
		parts[i+1] = rest
	}
	return strings.Join(parts, "")
}

// typeError finds the field that is of the wrong type. The decoder knows its path without list indexes, and an offset
// that means something only outside types with a decoder of their own.
func (d document) typeError(err *json.UnmarshalTypeError) position {
	var first, nearest *position
	for i, p := range d.positions {
		if withoutIndexes(p.path) != err.Field {
			continue
		}
		if first == nil {
			first = &d.positions[i]
		}
		if p.offset < int(err.Offset) {
			nearest = &d.positions[i]
		}
	}
	switch {
	case nearest != nil:
		return *nearest
	case first != nil:
		return *first
	}
	return position{path: err.Field, line: d.line("")}
}

// text returns the beginning of the value at a position, as JSON.
func (d document) text(at position) string {
	var value json.RawMessage
	if err := json.NewDecoder(bytes.NewReader(d.json[at.offset:])).Decode(&value); err != nil {
		return ""
	}
	return strings.ToValidUTF8(string(value[:min(len(value), maxQuote)]), "")
}

// builder writes JSON and notes where each value begins.
type builder struct {
	buffer    bytes.Buffer
	positions []position
}

func (b *builder) value(n *yaml.Node, path string, depth int) error {
	b.positions = append(b.positions, position{b.buffer.Len(), path, n.Line})
	if depth > maxDepth || len(b.positions) > maxNodes {
		return errTooBig
	}
	switch n.Kind {
	case yaml.AliasNode:
		return b.value(n.Alias, path, depth+1)
	case yaml.MappingNode:
		return b.mapping(n, path, depth)
	case yaml.SequenceNode:
		return b.sequence(n, path, depth)
	}
	return b.scalar(n)
}

func (b *builder) mapping(n *yaml.Node, path string, depth int) error {
	b.buffer.WriteByte('{')
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		switch {
		case key.ShortTag() == "!!merge":
			return errMerge
		case key.Kind != yaml.ScalarNode:
			return errKey
		}
		if i > 0 {
			b.buffer.WriteByte(',')
		}
		b.text(key.Value)
		b.buffer.WriteByte(':')
		if err := b.value(value, strings.TrimPrefix(path+"."+key.Value, "."), depth+1); err != nil {
			return err
		}
	}
	b.buffer.WriteByte('}')
	return nil
}

func (b *builder) sequence(n *yaml.Node, path string, depth int) error {
	b.buffer.WriteByte('[')
	for i, value := range n.Content {
		if i > 0 {
			b.buffer.WriteByte(',')
		}
		if err := b.value(value, fmt.Sprintf("%s[%d]", path, i), depth+1); err != nil {
			return err
		}
	}
	b.buffer.WriteByte(']')
	return nil
}

// scalar writes numbers, truth values and null as such, and all else, dates included, as text.
func (b *builder) scalar(n *yaml.Node) error {
	var value any = n.Value
	switch n.ShortTag() {
	case "!!int", "!!float", "!!bool", "!!null":
		if err := n.Decode(&value); err != nil {
			value = n.Value
		}
	}
	out, err := json.Marshal(value)
	if err != nil { // no JSON number, such as .inf
		b.text(n.Value)
		return nil
	}
	b.buffer.Write(out)
	return nil
}

func (b *builder) text(s string) {
	out, _ := json.Marshal(s) // text always has a JSON form
	b.buffer.Write(out)
}
