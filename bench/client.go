package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"time"
)

// answerWithin bounds how long an answer takes.
const answerWithin = 30 * time.Second

// client is one HTTP/1.1 connection to a server, which it keeps. It understands what
// the servers here answer, and costs as little as it can.
type client struct {
	address string
	conn    net.Conn
	in      *bufio.Reader
	out     []byte
}

func (c *client) close() {
	if c.conn != nil {
		_ = c.conn.Close()
		c.conn = nil
	}
}

// request is what is asked, but for who asks.
type request struct {
	method, body string
	path         string
}

var (
	aJob    = request{method: "GET", path: "/v4/jobs/17?limit=10"}
	renewal = request{method: "POST", path: "/v4/apiAccessTokens", body: `{"lifetimeSeconds": 3600, "description": "nightly"}`}
)

// ask sends a request with an Authorization header, unless that is "", and returns
// the answer's status and size.
func (c *client) ask(r request, authorization string) (status, size int, err error) {
	if c.conn == nil {
		if c.conn, err = net.Dial("tcp", c.address); err != nil {
			return 0, 0, err
		}
		c.in = bufio.NewReader(c.conn)
	}
	out := c.out[:0]
	out = append(out, r.method...)
	out = append(out, ' ')
	out = append(out, r.path...)
	out = append(out, " HTTP/1.1\r\nHost: api.example.com\r\nUser-Agent: curl/8.0\r\nAccept: */*\r\n"...)
	if authorization != "" {
		out = append(out, "Authorization: "...)
		out = append(out, authorization...)
		out = append(out, "\r\n"...)
	}
	if r.body != "" {
		out = append(out, "Content-Type: application/json\r\nContent-Length: "...)
		out = strconv.AppendInt(out, int64(len(r.body)), 10)
		out = append(out, "\r\n"...)
	}
	out = append(out, "\r\n"...)
	out = append(out, r.body...)
	c.out = out
	if err := c.conn.SetDeadline(time.Now().Add(answerWithin)); err != nil {
		return 0, 0, err
	}
	if _, err = c.conn.Write(out); err == nil {
		var keep bool
		if status, size, keep, err = readAnswer(c.in); err == nil && keep {
			return status, size, nil
		}
	}
	c.close()
	return status, size, err
}

var errNoAnswer = errors.New("not an answer that is understood here")

// readAnswer reads one answer, whose end Content-Length has to tell.
func readAnswer(in *bufio.Reader) (status, size int, keep bool, err error) {
	line, err := in.ReadSlice('\n')
	if err != nil {
		return 0, 0, false, err
	}
	size = len(line)
	if len(line) < len("HTTP/1.1 200") || !bytes.HasPrefix(line, []byte("HTTP/1.1 ")) {
		return 0, size, false, fmt.Errorf("%w: %q", errNoAnswer, line)
	}
	if status, err = strconv.Atoi(string(line[9:12])); err != nil {
		return 0, size, false, fmt.Errorf("%w: %q", errNoAnswer, line)
	}
	keep = true
	body := -1
	for {
		if line, err = in.ReadSlice('\n'); err != nil {
			return status, size, false, err
		}
		size += len(line)
		name, value, _ := bytes.Cut(bytes.TrimRight(line, "\r\n"), []byte(":"))
		if len(name) == 0 {
			break
		}
		value = bytes.TrimSpace(value)
		switch {
		case bytes.EqualFold(name, []byte("Content-Length")):
			if body, err = strconv.Atoi(string(value)); err != nil {
				return status, size, false, fmt.Errorf("%w: %q", errNoAnswer, line)
			}
		case bytes.EqualFold(name, []byte("Connection")):
			keep = keep && !bytes.EqualFold(value, []byte("close"))
		}
	}
	if status == 204 || status == 304 {
		return status, size, keep, nil
	}
	if body < 0 {
		return status, size, false, fmt.Errorf("%w: %d without a Content-Length", errNoAnswer, status)
	}
	_, err = in.Discard(body)
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return status, size + body, keep, err
}
