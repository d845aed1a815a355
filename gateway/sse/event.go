package sse

import "bytes"

// Events are written as the HTML standard says ("Parsing an event stream"): lines of fields,
// and an empty line that ends the event.
//
//	event: gap            none for a message
//	data: {"channel":…}   always one line
//	id: <cursor>          none where a cursor of several channels follows

// Comment keeps a stream alive that has nothing to say.
const Comment = ":\n\n"

// BeginEvent begins an event of a type, of no type where that is empty. The caller then
// appends its data.
func BeginEvent(dst []byte, kind string) []byte {
	if kind != "" {
		dst = append(append(append(dst, "event: "...), kind...), '\n')
	}
	return append(dst, "data: "...)
}

// BeginID ends the data of an event. The caller then appends its cursor.
func BeginID(dst []byte) []byte { return append(dst, "\nid: "...) }

// EndEvent ends an event behind its data or its cursor.
func EndEvent(dst []byte) []byte { return append(dst, "\n\n"...) }

// BeginCursor begins an event that has nothing but a cursor, which no client shows. The
// caller appends the cursor and ends the event.
func BeginCursor(dst []byte) []byte { return append(dst, "id: "...) }

// AppendLine appends JSON text as part of one line. Line ends are white space in JSON and
// become spaces.
func AppendLine(dst, text []byte) []byte {
	from := len(dst)
	dst = append(dst, text...)
	if bytes.IndexByte(text, '\n') < 0 && bytes.IndexByte(text, '\r') < 0 {
		return dst
	}
	for i, b := range dst[from:] {
		if b == '\n' || b == '\r' {
			dst[from+i] = ' '
		}
	}
	return dst
}
