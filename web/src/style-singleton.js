/**
 * Stands in for the package react-style-singleton, which GraphiQL's dialogs and
 * menus use to stop the page behind them from scrolling. The original adds a
 * <style> element, and that alone would force 'unsafe-inline' into the page's
 * content security policy. A constructed style sheet does the same and is allowed.
 */

import { useEffect } from 'react';

export function stylesheetSingleton() {
  let users = 0;
  let sheet = null;
  return {
    add(css) {
      if (users === 0) {
        sheet = new CSSStyleSheet();
        sheet.replaceSync(css);
        document.adoptedStyleSheets = [...document.adoptedStyleSheets, sheet];
      }
      users += 1;
    },
    remove() {
      users -= 1;
      if (users === 0) {
        document.adoptedStyleSheets = document.adoptedStyleSheets.filter((other) => other !== sheet);
        sheet = null;
      }
    },
  };
}

export function styleHookSingleton() {
  const singleton = stylesheetSingleton();
  return (css, isDynamic) => {
    useEffect(() => {
      singleton.add(css);
      return () => singleton.remove();
    }, [css && isDynamic]);
  };
}

export function styleSingleton() {
  const useStyle = styleHookSingleton();
  return function Sheet({ styles, dynamic }) {
    useStyle(styles, dynamic);
    return null;
  };
}
