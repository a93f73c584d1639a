package tokenapi

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"
)

const (
	// listChunk is how much of a list is written at a time, in bytes.
	listChunk = 32 << 10
	// listPatience is how long a client may take to read that much.
	listPatience = 30 * time.Second
)

func (c *call) list() error {
	listing, err := parseListing(c.r.URL.RawQuery)
	if listing.User != "" {
		// Rights come before the rest of the query.
		if err := c.Project.MayAdministrate(c.caller); err != nil {
			return err
		}
	}
	if err != nil {
		return err
	}
	var count int
	if listing.Count {
		if count, err = c.Registry.Count(c.r.Context(), c.Project, c.caller, listing); err != nil {
			return err
		}
	}
	info := infoOf
	if listing.User != "" {
		info = infoForOthers
	}
	answer := listAnswer{w: c.w}
	answer.WriteString(`{"data":[`)
	separator := ""
	for tokens, err := range c.Registry.Tokens(c.r.Context(), c.Project, c.caller, listing) {
		if err != nil {
			return answer.failed(err)
		}
		for _, t := range tokens {
			answer.WriteString(separator)
			answer.add(info(t))
			separator = ","
		}
		if answer.Len() < listChunk {
			continue
		}
		if c.r.Method == http.MethodHead {
			answer.begin()
			return nil
		}
		if err := answer.flush(); err != nil {
			return answer.failed(err)
		}
	}
	answer.WriteString("]")
	if listing.Count {
		answer.WriteString(`,"count":` + strconv.Itoa(count))
	}
	answer.WriteString("}\n")
	if err := answer.end(); err != nil {
		return answer.failed(err)
	}
	return nil
}

// ErrCut says that an answer can't be completed, of which the client has a part
// already: the connection has to end, or what it has would look whole.
var ErrCut = errors.New("the answer is cut off")

// listAnswer writes a list as it is read. What isn't written yet is in the
// buffer.
type listAnswer struct {
	bytes.Buffer
	w     http.ResponseWriter
	begun bool
}

// add puts one item of the list into the buffer.
func (a *listAnswer) add(info tokenInfo) {
	encoder := json.NewEncoder(a)
	encoder.SetEscapeHTML(false) // as writeJSON
	if err := encoder.Encode(info); err != nil {
		panic(err)
	}
	a.Truncate(a.Len() - 1) // Encode ends lines.
}

func (a *listAnswer) begin() {
	if !a.begun {
		a.begun = true
		writeHeader(a.w, http.StatusOK)
	}
}

// flush writes what is in the buffer.
func (a *listAnswer) flush() error {
	a.begin()
	// Where there can be no deadline, the server's own holds.
	_ = http.NewResponseController(a.w).SetWriteDeadline(time.Now().Add(listPatience))
	_, err := a.WriteTo(a.w)
	return err
}

// end writes the rest.
func (a *listAnswer) end() error {
	if !a.begun {
		a.w.Header().Set("Content-Length", strconv.Itoa(a.Len()))
		a.begin()
		_, _ = a.WriteTo(a.w)
		return nil
	}
	if err := a.flush(); err != nil {
		return err
	}
	control := http.NewResponseController(a.w)
	if err := control.Flush(); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return err
	}
	// The connection may be used again.
	_ = control.SetWriteDeadline(time.Time{})
	return nil
}

// failed returns err as it is as long as there can be another answer.
func (a *listAnswer) failed(err error) error {
	if a.begun {
		err = fmt.Errorf("%w: %w", ErrCut, err)
	}
	return err
}
