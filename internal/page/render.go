package page

import (
	"bytes"
	"embed"
	"fmt"
	"html/template"
	"io/fs"
	"net/http"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/caddy-access-tokens/caddy-access-tokens/internal/registry"
)

//go:embed templates/*.html
var templateFiles embed.FS

//go:embed static/*
var staticFiles embed.FS

// documents are the pages by name: the layout around a content of their own.
var documents = parseDocuments()

func parseDocuments() map[string]*template.Template {
	layout := template.Must(template.New("layout.html").Funcs(template.FuncMap{
		"exact": func(t time.Time) string { return t.UTC().Format("2 Jan 2006, 15:04 UTC") },
		"day":   func(t time.Time) string { return t.UTC().Format("2 January 2006") },
		"stamp": func(t time.Time) string { return t.UTC().Format(time.RFC3339) },
		"short": shortID, "count": plural,
	}).ParseFS(templateFiles, "templates/layout.html", "templates/parts.html"))
	names, err := fs.Glob(templateFiles, "templates/*.html")
	if err != nil {
		panic(err)
	}
	all := make(map[string]*template.Template)
	for _, file := range names {
		name := strings.TrimSuffix(path.Base(file), ".html")
		if name == "layout" || name == "parts" {
			continue
		}
		all[name] = template.Must(template.Must(layout.Clone()).ParseFS(templateFiles, file))
	}
	return all
}

// document is what a template is given.
type document struct {
	// Root is where the page is, for links.
	Root  string
	Title string
	// Project is the project's name.
	Project string
	// User is who is signed in, "" for nobody; Name what to call them.
	User, Name string
	CanSignOut bool
	// Nonce is for the document's forms.
	Nonce string
	// Admin: the caller administrates the project, or would after entering
	// the password again.
	Admin bool
	// Off: API access is off now, which the Caddyfile says if OffFixed.
	Off, OffFixed bool
	// Section is the navigation's entry that the document belongs to.
	Section string
	Body    any
}

// contentSecurityPolicy allows the page's own style, script and icon, and
// nothing else.
const contentSecurityPolicy = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; form-action 'self'; " +
	"frame-ancestors 'none'; base-uri 'none'; require-trusted-types-for 'script'; trusted-types 'none'"

// protect sets the headers that every answer of the page has.
func (p *Page) protect(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Security-Policy", contentSecurityPolicy)
	h.Set("Cache-Control", "no-store")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	if p.Connection == Open {
		// There a browser tells of a form's origin by Origin alone, and without a
		// referrer that is "null", as another site's may be.
		h.Set("Referrer-Policy", "same-origin")
	}
	if p.Connection != Open || r.Header["Sec-Fetch-Mode"] != nil {
		isolate(h, r.UserAgent()) // without TLS browsers complain of it; with, they say what a request is for
	}
}

// render answers with a document.
func (v *visit) render(status int, name string, d document) {
	d.Root, d.Project, d.Nonce = v.root, v.Project.Name, v.nonce
	if v.signedIn {
		d.User, d.Name = v.caller.User.ID, v.caller.User.Name
		if d.Name == "" {
			d.Name = d.User
		}
		// A refusal holds no form, so that it is the same, to the byte, for a token
		// that is another's as for none.
		d.CanSignOut = v.bySession && name != "message"
		d.Admin = (v.isAdmin() || v.lapsed) && name != "refused"
		d.Off, d.OffFixed = !v.policy.Enabled, slices.Contains(v.Project.FixedSettings(), registry.SettingEnabled)
	}
	var body bytes.Buffer
	if err := documents[name].Execute(&body, d); err != nil {
		panic(fmt.Sprintf("template %s: %v", name, err)) // the tests execute each
	}
	h := v.w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Length", strconv.Itoa(body.Len()))
	v.w.WriteHeader(status)
	_, _ = v.w.Write(body.Bytes())
}

// static answers with a file.
func (v *visit) static() error {
	name := path.Base(v.r.URL.Path)
	content, err := staticFiles.ReadFile("static/" + name)
	if err != nil {
		return errNoPage
	}
	kinds := map[string]string{".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}
	h := v.w.Header()
	h.Set("Content-Type", kinds[path.Ext(name)])
	h.Set("Content-Length", strconv.Itoa(len(content)))
	v.w.WriteHeader(http.StatusOK)
	_, _ = v.w.Write(content)
	return nil
}

// maxLevels is how many levels a link goes up. Only near misses lie deeper.
const maxLevels = 16

// root returns the page's path as below lies it, that many levels above the
// request's: relative, so that links work whatever was cut off in front, here or
// by a server that nobody knows of; or in whole, as far as that is known, where
// a path is deeper than any link has to be.
func (p *Page) root(levels int, below string) string {
	if levels > maxLevels {
		return p.CutOff + p.Path
	}
	return strings.Repeat("../", levels) + below
}

// redirect answers with the page at a path below the page's own, as the result
// of a form.
func (v *visit) redirect(below string) error {
	v.w.Header().Set("Location", v.root+below)
	v.w.Header().Set("Content-Length", "0")
	v.w.WriteHeader(http.StatusSeeOther)
	return nil
}

func (v *visit) toList() error { return v.redirect("") }

func (v *visit) toBlocked() error { return v.redirect("/blocked") }
