"""Paragraphs in languages with encodings of their own, present or past."""

PARAGRAPHS = {
    "French": "Le port ouvre à neuf heures. L’été, les élèves de l’école voisine y étudient les marées, même quand il pleut. "
    "La bibliothèque prête jusqu’à cinq livres à chaque lecteur ; ceux qui les rendent trop tard paient une amende légère. "
    "Où déjeuner ? Le garçon du café vous conseillera : le pêcheur l’a déjà prévenu que la pêche était très bonne.",
    "German": "Die Bücherei am Hafen öffnet um neun Uhr, außer an Feiertagen. Größere Gruppen müssen sich vorher anmelden. "
    "Für Schüler und Studenten ist die Ausleihe kostenlos; man darf fünf Bücher für höchstens vier Wochen behalten. "
    "Wer sie später zurückgibt, zahlt eine Gebühr. Möwen dürfen auf dem Gelände nicht gefüttert werden.",
    "Spanish": "La biblioteca del puerto abre a las nueve de la mañana, también los sábados. ¿Quién puede llevarse libros? "
    "Los niños y los jóvenes no pagan nada; los demás, según el año, una pequeña cuota. El capitán añadió que mañana "
    "habrá más pasajeros que nunca, y que ningún barco saldrá después de las diez. ¡Qué lástima!",
    "Swedish": "Biblioteket vid hamnen öppnar klockan nio, även på lördagar. Större grupper måste anmäla sig i förväg. "
    "Barn och ungdomar får låna böcker utan kostnad, men den som lämnar dem för sent får betala en avgift. "
    "På sommaren går färjan till öarna varje timme, och då är det ofta fullt ända från början.",
    "Polish": "Biblioteka w porcie jest otwarta od dziewiątej rano, także w soboty. Większe grupy powinny zgłosić się wcześniej. "
    "Młodzież może wypożyczać książki bezpłatnie, ale kto odda je za późno, płaci karę. Wędkarze łowią ryby przy moście, "
    "gdzie woda jest najgłębsza. Latem statki odpływają co godzinę, jeśli tylko wiatr nie jest zbyt silny. Życzymy miłego dnia!",
    "Czech": "Knihovna v přístavu otevírá v devět hodin, také o sobotách. Větší skupiny se musí přihlásit předem. "
    "Děti si mohou půjčovat knížky zdarma, kdo je však vrátí příliš pozdě, zaplatí pokutu. Rybáři chytají ryby u mostu, "
    "kde je voda nejhlubší. V létě vyplouvají lodě každou hodinu, když vítr není moc silný. Žádáme vás, abyste zachovali ticho.",
    "Hungarian": "A kikötői könyvtár reggel kilenckor nyit, szombaton is. A nagyobb csoportoknak előre be kell jelentkezniük. "
    "A gyerekek ingyen kölcsönözhetnek könyveket, de aki túl későn hozza vissza őket, bírságot fizet. A halászok a híd "
    "mellett horgásznak, ahol a víz a legmélyebb. Nyáron óránként indulnak a hajók, ha a szél nem túl erős. Köszönjük, hogy csöndben maradnak.",
    "Romanian": "Biblioteca din port se deschide la ora nouă, chiar şi sâmbăta. Grupurile mai mari trebuie să se anunţe înainte. "
    "Copiii pot împrumuta cărţi fără plată, dar cine le aduce prea târziu plăteşte o amendă. Pescarii stau lângă pod, unde apa este "
    "cea mai adâncă. Vara, vapoarele pleacă în fiecare oră, dacă vântul nu este prea puternic.",
    "Croatian": "Knjižnica u luci otvara se u devet sati, također i subotom. Veće skupine moraju se prijaviti unaprijed. "
    "Djeca mogu posuđivati knjige besplatno, a tko ih vrati prekasno, plaća kaznu. Ribari love ribu kod mosta, gdje je voda "
    "najdublja. Ljeti brodovi odlaze svaki sat ako vjetar nije prejak. Molimo vas da šutite i čuvate čistoću.",
    "Turkish": "Limandaki kütüphane sabah saat dokuzda açılır, cumartesi günleri de öyle. Büyük gruplar önceden haber vermelidir. "
    "Çocuklar ve gençler kitapları ücretsiz ödünç alabilir, ama geç getirenler ceza öder. Balıkçılar suyun en derin olduğu "
    "köprünün yanında balık tutar. Yazın rüzgâr çok şiddetli değilse vapurlar her saat başı kalkar. Lütfen sessiz olunuz.",
    "Lithuanian": "Uosto biblioteka atidaroma devintą valandą, taip pat ir šeštadieniais. Didesnės grupės turi pranešti iš anksto. "
    "Vaikai gali skolintis knygas nemokamai, bet kas jas grąžina per vėlai, moka baudą. Žvejai gaudo žuvį prie tilto, kur "
    "vanduo giliausias. Vasarą laivai išplaukia kas valandą, jeigu vėjas nėra per stiprus. Prašome laikytis tylos.",
    "Latvian": "Ostas bibliotēka tiek atvērta deviņos no rīta, arī sestdienās. Lielākām grupām jāpiesakās iepriekš. "
    "Bērni var aizņemties grāmatas bez maksas, bet tas, kurš tās atdod pārāk vēlu, maksā sodu. Zvejnieki zvejo pie tilta, kur ūdens ir "
    "visdziļākais. Vasarā kuģi atiet katru stundu, ja vējš nav pārāk stiprs. Lūdzam ievērot klusumu.",
    "Greek": "Η βιβλιοθήκη του λιμανιού ανοίγει στις εννέα το πρωί, ακόμη και τα Σάββατα. Οι μεγάλες ομάδες πρέπει να "
    "ειδοποιούν νωρίτερα. Τα παιδιά δανείζονται βιβλία δωρεάν, όποιος όμως τα επιστρέψει αργά πληρώνει πρόστιμο. Οι ψαράδες "
    "ψαρεύουν δίπλα στη γέφυρα, όπου το νερό είναι πιο βαθύ. Άνθρωποι και Έλληνες ταξιδιώτες φεύγουν κάθε ώρα.",
    "Russian": "Библиотека в порту открывается в девять часов утра, в том числе по субботам. Большие группы должны записаться "
    "заранее. Дети могут брать книги бесплатно, но тот, кто вернёт их слишком поздно, платит штраф. Рыбаки ловят рыбу у моста, "
    "где вода глубже всего. Летом пароходы отходят каждый час, если ветер не слишком сильный. Просим соблюдать тишину.",
    "Ukrainian": "Бібліотека в порту відчиняється о дев’ятій годині ранку, також і в суботу. Великі групи мають записатися "
    "заздалегідь. Діти можуть брати книжки безкоштовно, але той, хто поверне їх запізно, сплачує штраф. Рибалки ловлять рибу "
    "біля мосту, де вода найглибша. Їхні човни щогодини відпливають, якщо вітер не надто сильний. Просимо зберігати тишу.",
    "Bulgarian": "Библиотеката на пристанището отваря в девет часа сутринта, също и в събота. Големите групи трябва да се "
    "запишат предварително. Децата могат да вземат книги безплатно, но който ги върне твърде късно, плаща глоба. Рибарите ловят "
    "риба край моста, където водата е най-дълбока. През лятото корабите тръгват на всеки час, ако вятърът не е твърде силен.",
    "Hebrew": "הספרייה בנמל נפתחת בשעה תשע בבוקר, גם בימי שישי. קבוצות גדולות צריכות להודיע מראש. ילדים ובני נוער יכולים "
    "לשאול ספרים בלי תשלום, אבל מי שמחזיר אותם מאוחר מדי משלם קנס. הדייגים דגים ליד הגשר, במקום שבו המים עמוקים ביותר. "
    "בקיץ יוצאות הספינות בכל שעה, אם הרוח אינה חזקה מדי. אנא שמרו על השקט.",
    "Arabic": "تفتح المكتبة في الميناء الساعة التاسعة صباحا، وكذلك يوم السبت. على المجموعات الكبيرة أن تخبرنا قبل الزيارة. يمكن "
    "للأطفال أن يستعيروا الكتب مجانا، أما من يعيدها متأخرا فيدفع غرامة صغيرة. يصطاد الصيادون السمك قرب الجسر حيث الماء أعمق. "
    "في الصيف تغادر السفن كل ساعة إذا لم تكن الريح قوية جدا. نرجو منكم الهدوء.",
    "Thai": "ห้องสมุดที่ท่าเรือเปิดเวลาเก้าโมงเช้า รวมทั้งวันเสาร์ด้วย กลุ่มใหญ่ควรแจ้งล่วงหน้า เด็กและเยาวชนยืมหนังสือได้โดยไม่เสียเงิน "
    "แต่ผู้ที่คืนหนังสือช้าเกินไปต้องเสียค่าปรับ ชาวประมงจับปลาอยู่ใกล้สะพานซึ่งน้ำลึกที่สุด ในฤดูร้อนเรือออกทุกชั่วโมงถ้าลมไม่แรงเกินไป",
    "Vietnamese": "Thư viện ở bến cảng mở cửa lúc chín giờ sáng, kể cả thứ bảy. Các nhóm lớn cần báo trước. Trẻ em được mượn sách "
    "không mất tiền, nhưng ai trả quá muộn thì phải nộp phạt. Ngư dân câu cá gần cầu, nơi nước sâu nhất.",
    "Japanese": "港の図書館は朝九時に開きます。土曜日も開いています。大きな団体は前もって連絡してください。子どもは無料で本を借りることができますが、"
    "返すのが遅すぎる人は罰金を払います。漁師たちは水がいちばん深い橋のそばで魚を釣ります。夏には、風が強すぎなければ、船は一時間ごとに出ます。",
    "Simplified Chinese": "港口的图书馆早上九点开门，星期六也开放。人数较多的团体应当提前通知。孩子们可以免费借书，但是归还太晚的人要交罚款。"
    "渔民在桥边水最深的地方钓鱼。夏天如果风不太大，轮船每小时开出一班。请大家保持安静，不要在阅览室里吃东西。",
    "Traditional Chinese": "港口的圖書館早上九點開門，星期六也開放。人數較多的團體應當提前通知。孩子們可以免費借書，但是歸還太晚的人要繳罰款。"
    "漁民在橋邊水最深的地方釣魚。夏天如果風不太大，輪船每小時開出一班。請大家保持安靜，不要在閱覽室裡吃東西。",
    "Korean": "항구의 도서관은 아침 아홉 시에 문을 열며 토요일에도 엽니다. 인원이 많은 단체는 미리 알려 주시기 바랍니다. 어린이는 책을 무료로 "
    "빌릴 수 있지만 너무 늦게 돌려주는 사람은 벌금을 냅니다. 어부들은 물이 가장 깊은 다리 옆에서 고기를 잡습니다. 여름에는 배가 한 시간마다 떠납니다.",
    "Portuguese": "A biblioteca do porto abre às nove da manhã, também aos sábados. Os grupos maiores têm de avisar com antecedência. "
    "As crianças não pagam nada, mas quem devolver os livros demasiado tarde paga uma multa. À noite a água é mais funda junto à ponte; "
    "então os pescadores não vão até lá. Três irmãos já saíram de manhã.",
    "Danish": "Biblioteket ved havnen åbner klokken ni, også om lørdagen. Større grupper må melde sig på forhånd. Børn låner bøger "
    "gratis, men den, der afleverer dem for sent, må betale en bøde. Fiskerne står nær broen, hvor vandet er dybest. Om sommeren "
    "sejler færgen hver time, hvis blæsten ikke er for stærk.",
    "Slovenian": "Knjižnica v pristanišču se odpre ob devetih, tudi ob sobotah. Večje skupine se morajo prijaviti vnaprej. Otroci si "
    "lahko knjige izposodijo brezplačno, kdor pa jih vrne prepozno, plača globo. Ribiči lovijo ribe ob mostu, kjer je voda "
    "najgloblja. Poleti ladje odplujejo vsako uro, če veter ni premočan. Prosimo, bodite čim bolj tihi. Že vnaprej se zahvaljujemo.",
    "Slovak": "Knižnica v prístave sa otvára o deviatej hodine, aj v sobotu. Väčšie skupiny sa musia prihlásiť vopred. Deti si môžu "
    "požičiavať knižky zadarmo, kto ich však vráti príliš neskoro, zaplatí pokutu. Rybári chytajú ryby pri moste, kde je voda "
    "najhlbšia. V lete vyplávajú lode každú hodinu, ak vietor nie je príliš silný. Ďakujeme, že zachovávate ticho.",
    "Estonian": "Sadama raamatukogu avatakse kell üheksa, ka laupäeviti. Suuremad rühmad peavad endast ette teatama. Lapsed võivad "
    "raamatuid laenata tasuta, kuid kes need liiga hilja tagastab, maksab trahvi. Kalurid püüavad kala silla juures, kus vesi on "
    "kõige sügavam. Suvel väljuvad laevad iga tunni järel, kui tuul pole liiga tugev.",
    "Finnish": "Sataman kirjasto avataan aamulla yhdeksältä, myös lauantaisin. Isompien ryhmien täytyy ilmoittautua etukäteen. Lapset "
    "lainaavat kirjoja maksutta, mutta se, joka palauttaa ne liian myöhään, maksaa sakon. Kalastajat seisovat sillan lähellä, missä "
    "vesi on syvintä. Kesällä lautta lähtee joka tunti, ellei tuuli ole liian kova. Pysykää hiljaa, kiitämme teitä.",
    "Serbian": "Библиотека у луци отвара се у девет сати, такође и суботом. Веће групе морају да се пријаве унапред. Деца могу "
    "бесплатно да позајмљују књиге, а ко их врати прекасно, плаћа казну. Рибари лове рибу код моста, где је вода најдубља. Лети "
    "бродови одлазе сваког сата ако ветар није прејак. Молимо вас да ћутите и чувате чистоћу, ђаци нарочито.",
}
# Each language with the encodings of its texts other than UTF-8. Only one apostrophe is a
# typewriter's: older encodings have no other.
KINDS = [
    ("French", "cp1252"), ("German", "cp1252"), ("Spanish", "cp1252"), ("Portuguese", "cp1252"),
    ("Swedish", "cp1252"), ("Danish", "cp1252"), ("Finnish", "cp1252"), ("German", "mac_roman"),
    ("French", "cp850"), ("Polish", "cp1250"), ("Polish", "iso8859_2"), ("Czech", "cp1250"),
    ("Czech", "iso8859_2"), ("Slovak", "cp1250"), ("Slovenian", "cp1250"), ("Croatian", "cp1250"),
    ("Hungarian", "cp1250"), ("Romanian", "cp1250"), ("Turkish", "cp1254"),
    ("Lithuanian", "cp1257"), ("Latvian", "cp1257"), ("Estonian", "cp1257"), ("Greek", "cp1253"),
    ("Greek", "iso8859_7"), ("Russian", "cp1251"), ("Russian", "koi8_r"), ("Russian", "cp866"),
    ("Russian", "iso8859_5"), ("Russian", "mac_cyrillic"), ("Ukrainian", "cp1251"),
    ("Ukrainian", "koi8_u"), ("Bulgarian", "cp1251"), ("Serbian", "cp1251"), ("Hebrew", "cp1255"),
    ("Arabic", "cp1256"), ("Thai", "cp874"), ("Japanese", "cp932"), ("Japanese", "euc_jp"),
    ("Simplified Chinese", "gb18030"), ("Traditional Chinese", "big5"), ("Korean", "cp949"),
]  # fmt: skip
