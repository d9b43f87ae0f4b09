# What is installed for people to read: manual pages, documents, examples.

# Integrations that are installed bring their own pages.
MAN_PAGES = $(filter-out $(VHOST_PAGE) $(UBLK_PAGE),\
                $(wildcard docs/man/*.1 docs/man/*.3 docs/man/*.7))
man_path  = $(mandir)/man$(subst .,,$(suffix $(1)))/$(notdir $(1))
DOCUMENTS = README.md SECURITY.md docs/GUARANTEES.md docs/PORTING.md
EXAMPLE_SOURCES := $(wildcard examples/*.[ch])

INSTALLED += $(foreach page,$(MAN_PAGES),$(call man_path,$(page))) \
             $(addprefix $(docdir)/,$(notdir $(DOCUMENTS))) \
             $(addprefix $(docdir)/,$(EXAMPLE_SOURCES))
INSTALL_PARTS += install-documents

.PHONY: install-documents
install-documents:
	$(INSTALL) -d $(DESTDIR)$(docdir)/examples
	$(foreach page,$(MAN_PAGES),$(INSTALL) -D -m 644 $(page) \
	    $(DESTDIR)$(call man_path,$(page)) &&) :
	$(INSTALL) -m 644 $(DOCUMENTS) $(DESTDIR)$(docdir)
	$(INSTALL) -m 644 $(EXAMPLE_SOURCES) $(DESTDIR)$(docdir)/examples
