package contract

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A calendar server that believes a header, and a client of calendars.
func TestVdirsyncerUsesRadicaleWithATokenAsThePassword(t *testing.T) {
	t.Parallel()
	wantServers(t)
	behind := serve(t, "radicale", "--config", "{DIR}/radicale.conf")
	g := takingBasic(t, behind, "identity {\n\tX-Remote-User {http.auth.user.id}\n}")
	token := g.create(t, as("bob"), 3600, "")
	here := newHome(t)
	url := "http://" + g.addresses[0]
	here.must(t, "curl", "-sSf", "-u", "bob:"+token.value, "-X", "MKCALENDAR", url+"/bob/meetings/")
	if said := here.must(t, "curl", "-sS", "-o", "/dev/null", "-w", "%{http_code}", "-u", "bob:"+token.value, "-X", "MKCALENDAR", url+"/alice/meetings/"); said != "403" {
		t.Errorf("bob makes alice a calendar: %s", said)
	}
	here.write(t, "config", `
[general]
status_path = "`+here.dir+`/status/"
[pair calendars]
a = "local"
b = "remote"
collections = ["meetings"]
[storage local]
type = "filesystem"
path = "`+here.dir+`/calendars/"
fileext = ".ics"
[storage remote]
type = "caldav"
url = "`+url+`/"
username = "bob"
password = "`+token.value+`"
`)
	if err := os.MkdirAll(filepath.Join(here.dir, "calendars/meetings"), 0o700); err != nil {
		t.Fatal(err)
	}
	event := strings.Join([]string{
		"BEGIN:VCALENDAR", "VERSION:2.0", "PRODID:-//a test//EN", "BEGIN:VEVENT", "UID:1", "DTSTAMP:20260101T000000Z",
		"DTSTART:20260101T100000Z", "DTEND:20260101T110000Z", "SUMMARY:A meeting", "END:VEVENT", "END:VCALENDAR", "",
	}, "\r\n")
	here.write(t, "calendars/meetings/1.ics", event)
	here.must(t, "vdirsyncer", "-c", "config", "discover")
	here.must(t, "vdirsyncer", "-c", "config", "sync")
	if said := here.must(t, "curl", "-sSf", "-u", "bob:"+token.value, url+"/bob/meetings/"); !strings.Contains(said, "SUMMARY:A meeting") {
		t.Errorf("the calendar has %s", said)
	}
	g.remove(t, as("bob"), token.target())
	here.mustNot(t, "vdirsyncer", "-c", "config", "sync")
}
